"""A training file read for its metadata: which problems can be used at all, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wmtp import tasksets
from wmtp.config.data import DataConfig, benchmark_path
from wmtp.config.inputs import located
from wmtp.ledger import Account, Ledger
from wmtp.problems.choose import Candidate
from wmtp.problems.decontaminate import Removed, Statements, normalised
from wmtp.problems.files import Reading
from wmtp.types import Problem

SHOWN = 10
"""Bad rows that are shown, of those that are counted."""

Surveyed = Mapping[int, Sequence[Candidate]]
"""A file's usable problems by their numbers in it: the metadata of each one's solutions, of which there is at least one."""


@dataclass
class Survey:
    """What a training file holds. `difficulties`: by problem; `removed`: what is left out because of another problem."""

    surveyed: dict[int, list[Candidate]] = field(default_factory=dict)
    difficulties: dict[int, int | None] = field(default_factory=dict)
    removed: list[Removed] = field(default_factory=list)


def read(source: str, path: str, account: Account, ledger: Ledger, reading: Reading) -> Iterator[Problem]:
    """The problems of a file; `account` is told of each when it is read, and at the end of what the reader left out.

    Fields that say nothing, which a problem can do without, are a line of their own.
    """
    for problem in tasksets.load_problems(source, path, reading):
        account.read(1, len(problem.solutions))
        yield problem
    account.problems.read(len(reading.bad_rows))
    if reading.bad_rows:
        account.problems.drop("bad_row", len(reading.bad_rows))
        print("".join(f"sample: left out {row}\n" for row in reading.bad_rows[:SHOWN]), end="", flush=True)
    for reason, number in reading.notes.left_out.items():
        account.solutions.read(number)
        account.solutions.drop(reason, number)
    if reading.notes.unknown:
        fields = ledger.line(account.problems.name, "fields")
        for reason, number in reading.notes.unknown.items():
            fields.read(number)
            fields.drop(reason, number)


def survey(path: str, config: DataConfig, root: Path, held_out: Sequence[Problem], ledger: Ledger) -> Survey:
    """The usable problems of the training file: tested, with a right solution, in no benchmark, and each once.

    Raises:
        DataError: a broken file; names it.
    """
    account = ledger.account("source/train")
    known = Statements(
        [*held_out, *_benchmarks(config, root, ledger)],
        overlap_frac=config.benchmark_overlap,
        similarity=config.benchmark_similarity,
    )
    seen = Statements([], overlap_frac=None, similarity=config.max_similarity)
    found, split = Survey(), tasksets.get(config.source).split
    account.drop("contaminated", 0, 0)
    for i, problem in enumerate(read(config.source, path, account, ledger, Reading(config.max_bad_frac))):
        other = split(problem) not in ("", "train")
        reason = "of_another_split" if other else _reason(problem, known, seen, found.removed)
        if reason:
            account.drop(reason, 1, len(problem.solutions))
            continue
        seen.add(replace(problem, tests=(), solutions=()), normalised(problem.prompt))
        found.surveyed[i], found.difficulties[i] = candidates_of(i, problem), problem.difficulty
    account.keep([i for i, candidates in found.surveyed.items() for _ in candidates])
    return found


def _reason(problem: Problem, known: Statements, seen: Statements, removed: list[Removed]) -> str:
    """Why a problem is not used, "" for those that are; where another problem is why, `removed` is told of both."""
    text = normalised(problem.prompt)
    for statements, same, alike in (
        (known, "contaminated", "contaminated"),
        (seen, "duplicate_statement", "near_duplicate"),
    ):
        match = statements.find(text)
        if match is not None:
            reason = same if match.how == "same" else alike
            removed.append(Removed.of(problem, reason, match))
            return reason
    if not any(solution.is_correct for solution in problem.solutions):
        return "without_right_solution"
    return "" if problem.tests else "without_tests"


def _benchmarks(config: DataConfig, root: Path, ledger: Ledger) -> Iterator[Problem]:
    """The statements of all files of `data.benchmarks`."""
    if not config.benchmarks:
        return
    line = ledger.line("source/benchmarks", "problems")
    for entry in config.benchmarks:
        for problem in tasksets.load_problems(entry.partition(":")[0], resolve(benchmark_path(entry), root)):
            line.read()
            line.keep()
            yield replace(problem, tests=(), solutions=())


def resolve(value: str, root: Path, kind: str = "data") -> str:
    """Where what the configuration names lies: a path, or the folder that a hub id was downloaded to."""
    return str(root / located(value, kind))


def candidates_of(number: int, problem: Problem) -> list[Candidate]:
    """Metadata of the solutions of problem `number`."""
    return [
        Candidate(number, j, solution.is_correct, problem.difficulty, len(solution.code))
        for j, solution in enumerate(problem.solutions)
    ]
