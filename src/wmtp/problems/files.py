"""Problems in their one form: read from records of any kind, written to and read from JSON lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from wmtp.errors import DataError
from wmtp.files import whole_file
from wmtp.problems.records import Record, read_records, take, take_strings
from wmtp.types import AssertTest, IOTest, Problem, Solution, Test

LeftOut = Counter[str]
"""Solutions of the records that are not in the problems made of them, by reason."""

Reader = Callable[[Record, str, LeftOut], Problem]
"""A record, `where` it stands (for errors) and where to count what is left out -> a problem."""


def parse_problems(path_or_hub_id: str, read: Reader, left_out: LeftOut | None = None) -> Iterator[Problem]:
    """Every record of a file, folder or hub dataset as `read` understands it, in order, one in memory at a time.

    Raises:
        DataError: a broken record or a duplicate id; names file, line and field.
    """
    left_out = Counter() if left_out is None else left_out
    seen: dict[str, str] = {}
    for where, record in read_records(path_or_hub_id):
        problem = read(record, where, left_out)
        if problem.problem_id in seen:
            raise DataError(f"{where}: duplicate id {problem.problem_id!r}, first seen at {seen[problem.problem_id]}")
        seen[problem.problem_id] = where
        yield problem


def write_problems(path: Path, problems: Iterable[Problem]) -> int:
    """One JSON object a line, whole or not at all; returns how many."""
    number = 0
    with whole_file(path) as sink:
        for problem in problems:
            sink.write(json.dumps(_to_record(problem), ensure_ascii=True) + "\n")
            number += 1
    return number


def read_problems(path: Path) -> list[Problem]:
    """What `write_problems` wrote.

    Raises:
        DataError: missing file, broken line, missing or mistyped field, duplicate id.
    """
    return list(parse_problems(str(path), problem_from_record))


def _to_record(problem: Problem) -> dict[str, Any]:
    record = {
        "problem_id": problem.problem_id,
        "prompt": problem.prompt,
        "tests": [vars(test) for test in problem.tests],
        "difficulty": problem.difficulty,
        "time_limit_s": problem.time_limit_s,
        "memory_limit_bytes": problem.memory_limit_bytes,
        "solutions": [vars(solution) for solution in problem.solutions],
    }
    return record | ({"asserts": list(problem.asserts)} if problem.asserts else {})


def problem_from_record(record: Record, where: str, left_out: LeftOut) -> Problem:
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
        asserts=tuple(take_strings(record, where, "asserts", [])),
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
