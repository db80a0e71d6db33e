"""TACO (Li et al. 2023, arXiv 2312.14852): problems from coding websites in APPS' form, with limits and finer grades."""

from __future__ import annotations

import hashlib
import re

from wmtp.errors import DataError
from wmtp.problems.published.apps import (
    TIME_LIMIT_S,
    level,
    read_prompt,
    read_solutions,
    read_tests,
    time_limit_s,
    with_imports,
)
from wmtp.problems.records import Notes, Record, take_or_null
from wmtp.tasksets.base import TaskSet
from wmtp.types import Problem

LEVELS = {"UNKNOWN_DIFFICULTY": None, "EASY": 1, "MEDIUM": 2, "MEDIUM_HARD": 3, "HARD": 4, "VERY_HARD": 5}
UNITS = {"second": 1.0, "byte": 1.0, "kilobyte": 2.0**10, "megabyte": 2.0**20, "gigabyte": 2.0**30}
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ([a-z]+?)s?")


def to_problem(record: Record, where: str, notes: Notes) -> Problem:
    """The dataset has no ids: the question's digest is one."""
    prompt, tests = read_prompt(record, where, notes), read_tests(record, where, notes)
    return Problem(
        problem_id=f"taco/{hashlib.sha256(prompt.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}",
        prompt=prompt,
        tests=tests,
        difficulty=level(record, where, LEVELS, notes),
        time_limit_s=time_limit_s(tests, _amount(record, where, "time_limit", notes) or TIME_LIMIT_S),
        memory_limit_bytes=int(_amount(record, where, "memory_limit", notes) or 512 * 2**20),
        solutions=read_solutions(record, where, notes),
    )


def _amount(record: Record, where: str, name: str, notes: Notes) -> float:
    """Of `2.0 seconds` or `256.0 megabytes`; 0 where it is not told."""
    text = take_or_null(record, where, name, str, "", notes).strip().lower()
    if not text:
        return 0.0
    found = _AMOUNT.fullmatch(text)
    if found is None or found[2] not in UNITS:
        raise DataError(f"{where}: field {name!r} must be like '2.0 seconds' or '256.0 megabytes', found {text!r}")
    return float(found[1]) * UNITS[found[2]]


TASKSET = TaskSet(
    name="taco",
    description="TACO: problems from coding websites, on standard input or as functions, judged as its own tester does",
    citation="Li et al. 2023, arXiv 2312.14852; FlagOpen/TACO, metrics/testing_util.py",
    read=to_problem,
    assemble=with_imports,
    has_own_limits=True,
    checker="taco",
    packages=("numpy",),
    has_ids=False,
)
