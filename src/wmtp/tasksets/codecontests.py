"""CodeContests (Li et al. 2022, arXiv 2203.07814): stdin/stdout problems with right and wrong solutions."""

from __future__ import annotations

from typing import Any

from wmtp.errors import DataError
from wmtp.problems.files import LeftOut
from wmtp.problems.records import Record, take, take_strings, unix_newlines
from wmtp.tasksets.base import TaskSet
from wmtp.types import IOTest, Problem, Solution, Test

PYTHON_3 = 3
"""Of the languages 0 unknown, 1 Python 2, 2 C++, 3 Python 3, 4 Java."""


def to_problem(record: Record, where: str, left_out: LeftOut) -> Problem:
    """Public, private and generated tests; Python 3 solutions; `cf_rating` as difficulty where it is known (else 0)."""
    tests: list[Test] = []
    for name in ("public_tests", "private_tests", "generated_tests"):
        tests += _tests(record, where, name)
    solutions = _solutions(record, where, "solutions", True, left_out)
    solutions += _solutions(record, where, "incorrect_solutions", False, left_out)
    return Problem(
        problem_id=f"codecontests/{take(record, where, 'name', str)}",
        prompt=unix_newlines(take(record, where, "description", str)).strip(),
        tests=tuple(tests),
        difficulty=take(record, where, "cf_rating", int, 0) or 0,
        time_limit_s=_time_limit_s(record, where),
        memory_limit_bytes=take(record, where, "memory_limit_bytes", int, 0) or 256 * 2**20,
        solutions=tuple(solutions),
    )


def _time_limit_s(record: Record, where: str) -> float:
    limit = record.get("time_limit")
    if limit is None:
        return 4.0
    if not isinstance(limit, dict):
        raise DataError(f"{where}: field 'time_limit' must hold seconds and nanos")
    seconds = (
        take(limit, f"{where}: time_limit", "seconds", int, 0) + take(limit, f"{where}: time_limit", "nanos", int, 0) * 1e-9
    )
    return seconds or 4.0


def _columns(record: Record, where: str, name: str, keys: tuple[str, str]) -> tuple[str, dict[str, Any]]:
    """The two parallel lists of a nested field; a list of pairs (as some exports have it) is turned around."""
    value = take(record, where, name, (dict, list), {})
    if isinstance(value, list):
        value = {key: [take(item, f"{where}: {name}[{i}]", key, (str, int)) for i, item in enumerate(value)] for key in keys}
    value = value or {key: [] for key in keys}
    lengths = [len(take(value, f"{where}: {name}", key, list)) for key in keys]
    if lengths[0] != lengths[1]:
        raise DataError(f"{where}: field {name!r} has {lengths[0]} {keys[0]} but {lengths[1]} {keys[1]}")
    return f"{where}: {name}", value


def _tests(record: Record, where: str, name: str) -> list[Test]:
    where, columns = _columns(record, where, name, ("input", "output"))
    pairs = zip(take_strings(columns, where, "input"), take_strings(columns, where, "output"), strict=True)
    return [IOTest(stdin, stdout) for stdin, stdout in pairs]


def _solutions(record: Record, where: str, name: str, is_correct: bool, left_out: LeftOut) -> list[Solution]:
    where, columns = _columns(record, where, name, ("language", "solution"))
    kept = []
    for language, code in zip(columns["language"], take_strings(columns, where, "solution"), strict=True):
        if language in (PYTHON_3, "PYTHON3"):
            kept.append(Solution(unix_newlines(code).strip("\n"), is_correct))
        else:
            left_out["other_language"] += 1
    return kept


TASKSET = TaskSet(
    name="codecontests",
    description="CodeContests: competitive programs on standard input, with right and wrong solutions",
    citation="Li et al. 2022, arXiv 2203.07814",
    read=to_problem,
    has_own_limits=True,
)
