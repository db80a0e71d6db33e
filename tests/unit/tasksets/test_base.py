"""The program of a completion: its tests and its limits."""

import pytest

from wmtp import tasksets
from wmtp.errors import EvaluationError
from wmtp.types import IOTest, Limits, Problem

LIMITS = Limits(1.0, 2**26)


def test_limits_are_bounds_except_where_the_tasks_own_are_a_judges():
    problem = Problem("p", "statement", (IOTest("", "1"),), time_limit_s=2.5, memory_limit_bytes=2**28)
    assert tasksets.get("codecontests").program(problem, "print(1)", LIMITS).limits == Limits(2.5, 2**28)
    assert tasksets.get("synthetic").program(problem, "print(1)", LIMITS).limits == LIMITS
    assert tasksets.get("synthetic").program(problem, "print(1)", Limits(9.0, 2**40, 7)).limits == Limits(2.5, 2**28, 7)
    assert tasksets.get("synthetic").program(problem, "print(1)").limits == Limits(2.5, 2**28)


def test_what_cannot_be_scored_is_an_error():
    with pytest.raises(EvaluationError, match="p has no tests"):
        tasksets.get("synthetic").program(Problem("p", "", ()), "print(1)", LIMITS)
