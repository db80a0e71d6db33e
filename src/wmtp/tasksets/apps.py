"""APPS (Hendrycks et al. 2021, arXiv 2105.09938): problems from coding websites, as programs or as functions."""

from __future__ import annotations

from wmtp.problems.published.apps import level, read_prompt, read_solutions, read_tests
from wmtp.problems.records import Notes, Record, take
from wmtp.tasksets.base import TaskSet
from wmtp.types import Problem

LEVELS = {"introductory": 1, "interview": 2, "competition": 3}
TIME_LIMIT_S = 4.0
"""For a test on standard input, or all calls together (hendrycks/apps, eval/testing_util.py: four seconds a test)."""


def to_problem(record: Record, where: str, notes: Notes) -> Problem:
    """`problem_id` is called `id` in some editions."""
    name = "problem_id" if "problem_id" in record or "id" not in record else "id"
    return Problem(
        problem_id=f"apps/{take(record, where, name, (int, str))}",
        prompt=read_prompt(record, where, notes),
        tests=read_tests(record, where, notes),
        difficulty=level(record, where, LEVELS, notes),
        time_limit_s=TIME_LIMIT_S,
        solutions=read_solutions(record, where, notes),
    )


TASKSET = TaskSet(
    name="apps",
    description="APPS: problems from coding websites, on standard input or as functions; output compared as CodeContests does",
    citation="Hendrycks et al. 2021, arXiv 2105.09938",
    read=to_problem,
    has_own_limits=True,
    packages=("numpy",),
)
