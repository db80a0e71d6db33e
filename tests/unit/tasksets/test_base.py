"""The program of a completion: its tests and its limits."""

import pytest

from wmtp import tasksets
from wmtp.errors import EvaluationError
from wmtp.types import AssertTest, IOTest, Limits, Problem, Solution

LIMITS = Limits(1.0, 2**26)


def test_limits_are_bounds_except_where_the_tasks_own_are_a_judges():
    problem = Problem("p", "statement", (IOTest("", "1"),), time_limit_s=2.5, memory_limit_bytes=2**28)
    assert tasksets.get("codecontests").program(problem, "print(1)", LIMITS).limits == Limits(2.5, 2**28)
    assert tasksets.get("synthetic").program(problem, "print(1)", LIMITS).limits == LIMITS
    assert tasksets.get("synthetic").program(problem, "print(1)", Limits(9.0, 2**40, 7)).limits == Limits(2.5, 2**28, 7)
    assert tasksets.get("synthetic").program(problem, "print(1)").limits == Limits(2.5, 2**28)
    small_output = Limits(1.0, 2**26, 7)
    assert tasksets.get("codecontests").limits(problem, small_output) == Limits(2.5, 2**28, 7)


def test_what_cannot_be_scored_is_an_error():
    with pytest.raises(EvaluationError, match="p has no tests"):
        tasksets.get("synthetic").program(Problem("p", "", ()), "print(1)", LIMITS)


GIVEN = "def shout(s):\n    return s.upper() + '!'\n\n\n"
ASKED = "def quiet(s):\n"
TEST = AssertTest("assert quiet(shout('a')) == 'a' and math.floor(1.5) == 1")


@pytest.mark.parametrize("name", ["humaneval", "jsonl"])
def test_functions_of_a_prompt_that_is_code_are_the_judges(name):
    reference = Solution("    import math\n    return s[:-1].lower()", True)
    problem = Problem("p", GIVEN + ASKED, (TEST,), solutions=(Solution("    return 1 +", False), reference))
    program = tasksets.get(name).program(problem, "    return s")
    assert (program.helpers, program.defines, program.imports) == (GIVEN.rstrip() + "\n", ("quiet", "shout"), "")
    statement = Problem("p", "Make it quiet.", (TEST,), solutions=(Solution(f"import math\n{GIVEN}{ASKED}    pass", True),))
    program = tasksets.get("jsonl").program(statement, ASKED + "    pass")
    assert (program.helpers, program.defines, program.imports) == ("", ("math", "quiet", "shout"), "import math\n")


def test_without_a_right_solution_a_test_may_ask_for_anything():
    for solutions in ((), (Solution("x = 1", False),)):
        program = tasksets.get("mbpp").program(Problem("p", "", (TEST,), solutions=solutions), "pass")
        assert (program.defines, program.helpers, program.imports) == (None, "", "")
