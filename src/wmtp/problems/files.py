"""Problems in their one form: read from public datasets, written to and read from JSON lines."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from wmtp.errors import DataError
from wmtp.problems.records import Record, read_records, take
from wmtp.types import AssertTest, IOTest, Problem, Solution, Test

SOURCES = ("codecontests", "gsm8k", "humaneval", "jsonl", "mbpp")
"""Datasets that are read; each is a module of this package with `to_problem(record, where, counts)`."""

Counts = dict[str, int]
"""What was kept or dropped, by name."""


def count(counts: Counts | None, name: str, number: int = 1) -> None:
    """Add to a counter that may not be kept."""
    if counts is not None:
        counts[name] = counts.get(name, 0) + number


def load_problems(name: str, path_or_hub_id: str, counts: Counts | None = None) -> Iterator[Problem]:
    """Problems of a public dataset, in its order, one in memory at a time.

    Args:
        name: one of `SOURCES`.
        path_or_hub_id: a .jsonl, .parquet or .arrow file, a folder of them, or a hub id `owner/name[:split]`.
        counts: incremented by what a reader leaves out (solutions in other languages, ...).
    Raises:
        DataError: unknown dataset, broken record or duplicate id; names file, line and field.
    """
    if name not in SOURCES:
        raise DataError(f"unknown dataset {name!r}: known are {', '.join(SOURCES)}")
    to_problem = importlib.import_module(f"wmtp.tasksets.{name}").to_problem
    seen: dict[str, str] = {}
    for where, record in read_records(path_or_hub_id):
        problem = to_problem(record, where, counts)
        if problem.problem_id in seen:
            raise DataError(f"{where}: duplicate id {problem.problem_id!r}, first seen at {seen[problem.problem_id]}")
        seen[problem.problem_id] = where
        yield problem


def write_problems(path: Path, problems: Iterable[Problem]) -> int:
    """One JSON object a line, atomically; returns how many."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    number = 0
    with open(temporary, "w", encoding="utf-8", newline="\n") as sink:
        for problem in problems:
            sink.write(json.dumps(_to_record(problem), ensure_ascii=True) + "\n")
            number += 1
        sink.flush()
        os.fsync(sink.fileno())
    os.replace(temporary, path)
    return number


def read_problems(path: Path) -> list[Problem]:
    """What `write_problems` wrote.

    Raises:
        DataError: missing file, broken line, missing or mistyped field, duplicate id.
    """
    return list(load_problems("jsonl", str(path)))


def _to_record(problem: Problem) -> dict[str, Any]:
    return {
        "problem_id": problem.problem_id,
        "prompt": problem.prompt,
        "tests": [vars(test) for test in problem.tests],
        "difficulty": problem.difficulty,
        "time_limit_s": problem.time_limit_s,
        "memory_limit_bytes": problem.memory_limit_bytes,
        "solutions": [vars(solution) for solution in problem.solutions],
    }


def problem_from_record(record: Record, where: str) -> Problem:
    """The inverse of `write_problems` for one line; tests are {"stdin", "stdout"} or {"code"}."""
    return Problem(
        problem_id=take(record, where, "problem_id", str),
        prompt=take(record, where, "prompt", str),
        tests=tuple(_test(test, f"{where}: tests[{i}]") for i, test in enumerate(take(record, where, "tests", list))),
        difficulty=take(record, where, "difficulty", int, 0),
        time_limit_s=float(take(record, where, "time_limit_s", (int, float), 4.0)),
        memory_limit_bytes=take(record, where, "memory_limit_bytes", int, 512 * 2**20),
        solutions=tuple(
            _solution(item, f"{where}: solutions[{i}]") for i, item in enumerate(take(record, where, "solutions", list, []))
        ),
    )


def _test(record: Any, where: str) -> Test:
    if not isinstance(record, dict):
        raise DataError(f"{where} must be an object with stdin and stdout, or with code")
    if "code" in record:
        return AssertTest(take(record, where, "code", str))
    return IOTest(take(record, where, "stdin", str), take(record, where, "stdout", str))


def _solution(record: Any, where: str) -> Solution:
    if not isinstance(record, dict):
        raise DataError(f"{where} must be an object with code and is_correct")
    return Solution(take(record, where, "code", str), take(record, where, "is_correct", bool))
