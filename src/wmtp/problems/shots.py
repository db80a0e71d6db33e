"""Which solved examples stand before a question: fixed ones, or drawn for every task as lm-evaluation-harness draws."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wmtp.errors import ConfigError, DataError
from wmtp.problems.files import Reader, parse_problems
from wmtp.problems.formats import PromptFormat, Shot
from wmtp.problems.records import Notes, Record
from wmtp.types import Problem


@dataclass(frozen=True)
class Shots:
    """The examples before every question: the same ones, or each task's own. `source`: the file that they are from."""

    source: str = ""
    same: tuple[Shot, ...] = ()
    by_task: Mapping[str, tuple[Shot, ...]] = field(default_factory=dict)

    def of(self, problem: Problem) -> tuple[Shot, ...]:
        return self.by_task.get(problem.problem_id, self.same)

    def as_dict(self) -> dict[str, Any]:
        """As metrics.json has it: the examples' ids."""
        own = {task: _ids(shots) for task, shots in self.by_task.items()}
        return {"source": self.source, "ids": own or _ids(self.same)}


NO_SHOTS = Shots()


def _ids(shots: Sequence[Shot]) -> list[str]:
    return [shot.problem.problem_id for shot in shots]


def choose_shots(
    form: PromptFormat,
    problems: Sequence[Problem],
    read: Reader,
    *,
    number: int | None = None,
    source: str | None = None,
    seed: int | None = None,
) -> Shots:
    """The examples that a format puts before the questions of `problems`.

    Args:
        number: of examples; None for as many as published.
        source: a file in the benchmark's own format that holds them.
        seed: draw new ones for every task, in the tasks' order, as lm-evaluation-harness does (its seed is 1234); None for
            the format's fixed ones.
    Raises:
        ConfigError: a format without examples, or no source for those it needs.
        DataError: a source that does not hold them, or an example that is one of the questions.
    """
    number = form.num_shots if number is None else number
    if form.answer is None and (number or source):
        raise ConfigError(f"the prompt format {form.name} has no solved examples: leave --num-shots and --shots out")
    if not number:
        if source or seed is not None:
            raise ConfigError("--shots and --shot-seed are of no use with --num-shots 0")
        return NO_SHOTS
    if not source:
        hint = f"name the file that holds them with --shots, or ask without any by --num-shots 0 (published: {form.num_shots})"
        raise ConfigError(f"the prompt format {form.name} needs {number} solved examples: {hint}")
    pool = _read(source, read)
    kinds = {problem.problem_id: _of_kind(form, pool, problem) for problem in problems}
    for task, fitting in kinds.items():
        if number > len(fitting):
            what = "problems" if form.kind is None else f"problems of the kind of {task}"
            raise DataError(f"{source} holds {len(fitting)} {what}, and {number} solved examples are asked for")
    if seed is not None:
        draw = random.Random(seed)
        chosen = Shots(source, by_task={task: tuple(draw.sample(fitting, number)) for task, fitting in kinds.items()})
    elif form.kind is not None:
        chosen = Shots(source, by_task={task: tuple(fitting[:number]) for task, fitting in kinds.items()})
    else:
        chosen = Shots(source, _fixed(form, pool, number, source))
    tasks = {problem.problem_id for problem in problems}
    for shots in (chosen.same, *chosen.by_task.values()):
        if known := tasks & set(_ids(shots)):
            raise DataError(f"{source}: the solved example {min(known)} is one of the questions")
    return chosen


def _of_kind(form: PromptFormat, pool: list[Shot], problem: Problem) -> list[Shot]:
    """Examples that may stand before that question."""
    kind = form.kind
    return pool if kind is None else [shot for shot in pool if kind(shot.problem) == kind(problem)]


def _fixed(form: PromptFormat, pool: Sequence[Shot], number: int, source: str) -> tuple[Shot, ...]:
    """The first `number` of the format's own list; the file's first where the format has no list."""
    if not form.shot_ids:
        return tuple(pool[:number])
    by_id = {shot.problem.problem_id: shot for shot in pool}
    for ids in form.shot_ids:
        if number <= len(ids) and all(each in by_id for each in ids[:number]):
            return tuple(by_id[each] for each in ids[:number])
    most = max(map(len, form.shot_ids))
    if number > most:
        raise ConfigError(f"the prompt format {form.name} has {most} fixed examples, not {number}: draw with --shot-seed")
    wanted = " or ".join(", ".join(ids[:number]) for ids in form.shot_ids)
    raise DataError(f"{source} does not hold the solved examples of the prompt format {form.name}: {wanted}")


def _read(source: str, read: Reader) -> list[Shot]:
    """Every problem of a file with its record."""
    shots: list[Shot] = []

    def reading(record: Record, where: str, notes: Notes) -> Problem:
        problem = read(record, where, notes)
        shots.append(Shot(problem, record))
        return problem

    for _ in parse_problems(source, reading):
        pass
    return shots
