"""A training file read for its metadata: which problems can be used at all, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from wmtp import tasksets
from wmtp.config.data import DataConfig, benchmark_path
from wmtp.config.inputs import located
from wmtp.examples.store import Store, Stores, distinct, stored
from wmtp.ledger import Account, Ledger
from wmtp.problems.choose import Candidates
from wmtp.problems.decontaminate import Removed, Statements, normalised
from wmtp.problems.draw import in_order, solution_keys
from wmtp.problems.files import Reading
from wmtp.types import Problem

SHOWN = 10
"""Bad rows that are shown, of those that are counted."""


@dataclass(frozen=True, eq=False)
class Survey:
    """What of a training file can be used: `usable` problems, (P,); `removed`: what is left out because of another problem;
    `told`: how many of its problems are usable and why the others are not, for errors."""

    store: Store
    usable: np.ndarray
    removed: list[Removed]
    told: str = ""

    @cached_property
    def rows(self) -> np.ndarray:
        """Numbers of the solutions of usable problems."""
        return np.flatnonzero(self.usable[self.store.candidates.problems])


def read(source: str, path: str, account: Account, ledger: Ledger, reading: Reading) -> Iterator[Problem]:
    """The problems of a file with distinct solutions; `account` is told of each when it is read, and at the end of the rest."""
    for problem in tasksets.load_problems(source, path, reading):
        once = distinct(problem)
        account.read(1, len(problem.solutions))
        account.solutions.drop("duplicate_solution", len(problem.solutions) - len(once.solutions))
        yield once
    _note(reading, account, ledger)


def _note(reading: Reading, account: Account, ledger: Ledger) -> None:
    """What a reader left out. Fields that say nothing, which a problem can do without, are a line of their own."""
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


def survey(path: str, config: DataConfig, root: Path, held_out: Sequence[Problem], ledger: Ledger, stores: Stores) -> Survey:
    """The usable problems of the training file: stated, tested, with a right solution, in no benchmark, and each once.

    Which of several alike is used depends on their ids, not on their order.

    Args:
        stores: what was read before.
    Raises:
        DataError: a broken file; names it.
    """
    account = ledger.account("source/train")
    store = stored(config.source, path, Reading(config.max_bad_frac), stores)
    known = Statements(
        [*held_out, *benchmark_statements(config, root, ledger)],
        overlap_frac=config.benchmark_overlap,
        similarity=config.benchmark_similarity,
    )
    removed: list[Removed] = []
    reasons = _reasons(store, known, config.max_similarity, removed)
    candidates, number = store.candidates, store.problems.num_rows
    sizes = np.bincount(candidates.problems, minlength=number)
    account.read(number, store.num_solutions)
    account.solutions.drop("duplicate_solution", store.num_solutions - len(candidates))
    account.drop("contaminated", 0, 0)
    for reason in sorted(set(reasons) - {""}):
        account.drop(reason, reasons.count(reason), int(sizes[[each == reason for each in reasons]].sum()))
    _note(store.reading, account, ledger)
    usable = np.asarray([not reason for reason in reasons], dtype=bool)
    account.problems.keep(int(usable.sum()))
    account.solutions.keep(int(sizes[usable].sum()))
    return Survey(store, usable, removed, str(account.problems))


def _reasons(store: Store, known: Statements, max_similarity: float | None, removed: list[Removed]) -> list[str]:
    """Why each problem is not used, "" for those that are; where another problem is why, `removed` is told of both."""
    number, candidates = store.problems.num_rows, store.candidates
    has_right = np.bincount(candidates.problems[candidates.is_correct], minlength=number) > 0
    has_tests = store.problems["num_tests"].to_numpy() > 0
    statements, splits, rows, files = map(store.column, ("statement", "split", "row", "file"))
    seen, reasons = Statements([], overlap_frac=None, similarity=max_similarity), [""] * number
    for i in in_order("survey", store.problem_keys).tolist():
        if splits[i] not in ("", "train"):
            reasons[i] = "of_another_split"
            continue
        if not statements[i].strip():
            reasons[i] = "without_statement"
            continue
        text = normalised(statements[i])
        problem = Problem(store.problem_ids[i], statements[i], (), file=store.files[files[i]], row=rows[i])
        for others, same, alike in (
            (known, "contaminated", "contaminated"),
            (seen, "duplicate_statement", "near_duplicate"),
        ):
            match = None if reasons[i] else others.find(text)
            if match is not None:
                reasons[i] = same if match.how == "same" else alike
                removed.append(Removed.of(problem, reasons[i], match))
        reasons[i] = reasons[i] or ("" if has_right[i] else "without_right_solution")
        reasons[i] = reasons[i] or ("" if has_tests[i] else "without_tests")
        if not reasons[i]:
            seen.add(problem, text)
    removed.sort(key=lambda each: (each.file, each.row))
    return reasons


def benchmark_statements(config: DataConfig, root: Path, ledger: Ledger) -> Iterator[Problem]:
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


def candidates_of(problems: Sequence[Problem]) -> Candidates:
    """The solutions of problems that are in memory, by their numbers."""
    sizes = [len(problem.solutions) for problem in problems]
    labels = [solution.is_correct for problem in problems for solution in problem.solutions]
    keys = [solution_keys(each.problem_id, [solution.code for solution in each.solutions]) for each in problems]
    return Candidates(
        np.repeat(np.arange(len(problems)), sizes),
        np.asarray(labels, dtype=bool),
        np.concatenate(keys) if keys else np.empty(0, np.uint64),
    )
