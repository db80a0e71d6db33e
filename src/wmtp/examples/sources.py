"""The problems of every split, with the solutions that sampling chose: from the generator or from files.

Files are read twice: once for metadata alone, on which everything is decided, and once for the texts that are kept.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wmtp import tasksets
from wmtp.config.schema import DataConfig
from wmtp.errors import DataError
from wmtp.problems.choose import Row, choose_problems, choose_solutions
from wmtp.problems.decontaminate import normalised
from wmtp.problems.files import Counts, count
from wmtp.synthetic.generate import generate
from wmtp.tasksets import load_problems
from wmtp.types import Problem


@dataclass(frozen=True)
class Splits:
    """Problems by use. `train` and `reference` share none with each other or with `validation` and `test`."""

    train: list[Problem]
    reference: list[Problem]
    validation: list[Problem]
    test: list[Problem]


def load_splits(config: DataConfig, root: Path, counts: Counts) -> Splits:
    """The configured source, split and sampled.

    Synthetic: all four splits are different problems. Files: `train_path` gives reference problems (clean data) and, of
    the rest, training problems; `validation_path` gives the problems of validation and test, which may be the same ones.
    Relative paths start at `root`.

    Raises:
        DataError: a broken file, or fewer problems than asked for.
    """
    if tasksets.get(config.source).is_generated:
        made = generate(config, counts)
        splits = {name: _sampled(problems, config, name) for name, problems in made.items() if name != "test"}
        return Splits(**splits, test=made["test"])
    held_out = list(load_problems(config.source, resolve(str(config.validation_path), root)))
    count(counts, "validation_file_problems", len(held_out))
    for key, number in (
        ("num_validation_problems", config.num_validation_problems),
        ("num_test_problems", config.num_test_problems),
    ):
        if number > len(held_out):
            raise DataError(f"data.{key}={number}, but {config.validation_path} has {len(held_out)} problems")
    order = list(range(len(held_out)))
    random.Random(f"held out {config.seed}").shuffle(order)
    validation = [held_out[i] for i in sorted(order[-config.num_validation_problems :])]
    test = [held_out[i] for i in sorted(order[: config.num_test_problems])]
    train, reference = _from_training_file(config, resolve(str(config.train_path), root), held_out, counts)
    return Splits(train, reference, _sampled(validation, config, "validation"), test)


def resolve(path: str, root: Path) -> str:
    """A file or folder of the workspace if there is one, else the path or hub id as it stands."""
    return str(root / path) if (root / path).exists() else path


def solutions_per_problem(config: DataConfig) -> int:
    """How many given solutions of a problem leave room for their mutants within `max_per_problem`."""
    return max(1, config.max_per_problem // (1 + config.mutants_per_solution))


def _choose(rows: Sequence[Row], config: DataConfig, split: str) -> list[Row]:
    """With mutants the given right solutions are used and the wrong ones are made; without, both are given."""
    seed = f"{config.seed} {split}"
    if config.mutants_per_solution:
        right = [row for row in rows if row.is_correct]
        return choose_solutions(right, max_per_problem=solutions_per_problem(config), pairwise=False, seed=seed)
    return choose_solutions(rows, max_per_problem=config.max_per_problem, pairwise=config.pairwise, seed=seed)


def _sampled(problems: Sequence[Problem], config: DataConfig, split: str) -> list[Problem]:
    """Problems that are in memory, with the chosen solutions."""
    rows = [row for i, problem in enumerate(problems) for row in solution_rows(i, problem)]
    chosen: dict[int, list[int]] = {}
    for row in _choose(rows, config, split):
        chosen.setdefault(row.problem, []).append(row.solution)
    return [_with_solutions(problems[i], keep) for i, keep in chosen.items()]


def solution_rows(number: int, problem: Problem) -> list[Row]:
    """Metadata of the solutions of problem `number`."""
    return [
        Row(number, j, solution.is_correct, problem.difficulty, len(solution.code))
        for j, solution in enumerate(problem.solutions)
    ]


def _with_solutions(problem: Problem, keep: Sequence[int]) -> Problem:
    return replace(problem, solutions=tuple(problem.solutions[j] for j in keep))


def _from_training_file(
    config: DataConfig, path: str, benchmark: Sequence[Problem], counts: Counts
) -> tuple[list[Problem], list[Problem]]:
    """Training and reference problems: decontaminated, distinct, sampled."""
    rows, difficulties = _survey(path, config, benchmark, counts)
    usable = sorted(rows)
    random.Random(f"reference {config.seed}").shuffle(usable)
    reference, rest = usable[: config.num_reference_problems], sorted(usable[config.num_reference_problems :])
    if len(reference) < config.num_reference_problems or not rest:
        raise DataError(
            f"data.num_reference_problems={config.num_reference_problems}, but {path} has {len(usable)} usable problems "
            "and some must be left to train on"
        )
    picked = choose_problems([difficulties[i] for i in rest], config, config.num_problems, f"{config.seed}")
    train = [rest[i] for i in picked]
    if config.num_problems is not None and len(train) < config.num_problems:
        raise DataError(f"data.num_problems={config.num_problems}, but {path} leaves {len(train)}: use null for all")
    count(counts, "train_problems_not_sampled", len(rest) - len(train))
    chosen: dict[int, list[int]] = {}
    for split, numbers in (("train", train), ("reference", reference)):
        for row in _choose([row for i in numbers for row in rows[i]], config, split):
            chosen.setdefault(row.problem, []).append(row.solution)
    loaded = {
        i: _with_solutions(problem, chosen[i]) for i, problem in enumerate(load_problems(config.source, path)) if i in chosen
    }
    return [loaded[i] for i in train if i in loaded], [loaded[i] for i in reference if i in loaded]


def _survey(
    path: str, config: DataConfig, benchmark: Sequence[Problem], counts: Counts
) -> tuple[dict[int, list[Row]], dict[int, int]]:
    """Metadata of the usable problems by their number in the file: solution rows, difficulty."""
    known = {normalised(problem.prompt) for problem in benchmark}
    seen: set[str] = set()
    rows: dict[int, list[Row]] = {}
    difficulties: dict[int, int] = {}
    for i, problem in enumerate(load_problems(config.source, path, counts)):
        statement = normalised(problem.prompt)
        if statement in known:
            count(counts, "train_contaminated")
        elif statement in seen:
            count(counts, "train_duplicate_problems")
        elif not any(solution.is_correct for solution in problem.solutions):
            count(counts, "train_without_right_solution")
        elif not problem.tests:
            count(counts, "train_without_tests")
        else:
            seen.add(statement)
            rows[i], difficulties[i] = solution_rows(i, problem), problem.difficulty
    count(counts, "train_contaminated", 0)
    return rows, difficulties
