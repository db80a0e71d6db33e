"""APPS (Hendrycks et al. 2021, arXiv 2105.09938): problems from coding websites, as programs or as functions."""

from __future__ import annotations

from wmtp.problems.published.apps import level, read_prompt, read_solutions, read_tests, time_limit_s, with_imports
from wmtp.problems.records import Notes, Record, take
from wmtp.tasksets.base import TaskSet
from wmtp.types import Problem

LEVELS = {"introductory": 1, "interview": 2, "competition": 3}


def to_problem(record: Record, where: str, notes: Notes) -> Problem:
    """`problem_id` is called `id` in some editions."""
    name = "problem_id" if "problem_id" in record or "id" not in record else "id"
    tests = read_tests(record, where, notes)
    return Problem(
        problem_id=f"apps/{take(record, where, name, (int, str))}",
        prompt=read_prompt(record, where, notes),
        tests=tests,
        difficulty=level(record, where, LEVELS, notes),
        time_limit_s=time_limit_s(tests),
        solutions=read_solutions(record, where, notes),
    )


TASKSET = TaskSet(
    name="apps",
    description="APPS: problems from coding websites, on standard input or as functions, judged as its own tester does",
    citation="Hendrycks et al. 2021, arXiv 2105.09938; hendrycks/apps, eval/testing_util.py",
    read=to_problem,
    assemble=with_imports,
    has_own_limits=True,
    checker="apps",
    packages=("numpy",),
)
