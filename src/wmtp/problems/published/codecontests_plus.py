"""Records of CodeContests+ (Wang et al. 2025, arXiv 2506.05817), which `codecontests` reads as well."""

from __future__ import annotations

from typing import Any

from wmtp.errors import DataError
from wmtp.problems.records import Notes, Record, take, take_or_null, unix_newlines
from wmtp.types import IOTest, Problem, Solution

PYTHON_3 = ("py3", "python3", "PYTHON3")


def is_plus(record: Record) -> bool:
    """Whether a record is CodeContests+', not CodeContests'."""
    return "correct_submissions" in record


def to_problem(record: Record, where: str, notes: Notes) -> Problem:
    """Limits are in milliseconds and megabytes; checkers are in C++, made with testlib."""
    checker = take_or_null(record, where, "checker", str, "", notes)
    tests = take_or_null(record, where, "test_cases", list, [], notes)
    solutions = _submissions(record, where, "correct_submissions", True, notes)
    solutions += _submissions(record, where, "incorrect_submissions", False, notes)
    return Problem(
        problem_id=f"codecontestsplus/{take(record, where, 'source', str)}/{take(record, where, 'id', str)}",
        prompt=unix_newlines(take(record, where, "description", str)).strip(),
        tests=tuple(IOTest(*(take(_item(t, where, i), where, key, str) for key in _TEST)) for i, t in enumerate(tests)),
        time_limit_s=(take_or_null(record, where, "time_limit", int, 0, notes) or 4000) / 1000,
        memory_limit_bytes=(take_or_null(record, where, "memory_limit", int, 0, notes) or 256) * 2**20,
        solutions=tuple(solutions),
        testlib_checker=checker if checker.strip() else "",
    )


_TEST = ("input", "output")


def _item(value: Any, where: str, i: int) -> Record:
    if not isinstance(value, dict):
        raise DataError(f"{where}: test_cases[{i}] must hold input and output")
    return value


def _submissions(record: Record, where: str, name: str, is_correct: bool, notes: Notes) -> list[Solution]:
    kept = []
    for i, item in enumerate(take_or_null(record, where, name, list, [], notes)):
        if not isinstance(item, dict):
            raise DataError(f"{where}: {name}[{i}] must hold code and language")
        language = item.get("language")
        if language not in PYTHON_3:
            notes.other_language(language)
        elif item.get("code") is None:
            notes.left_out["null_solution"] += 1
        else:
            code = unix_newlines(take(item, f"{where}: {name}[{i}]", "code", str)).strip("\n")
            kept.append(Solution(code, is_correct, f"{name}[{i}]", str(language)))
    return kept
