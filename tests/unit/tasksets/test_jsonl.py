"""Your own data: what is code and what is a statement."""

import pytest

from wmtp import tasksets
from wmtp.types import AssertTest, Problem


def test_own_data_has_no_stop_string_that_could_cut_a_program():
    assert tasksets.get("jsonl").stop == tasksets.get("codecontests").stop == tasksets.get("synthetic").stop == ()


@pytest.mark.parametrize(
    ("prompt", "shown", "program"),
    [
        ("Add.", "# Add.\n", "return 1"),
        ("Add.\nTwo numbers.", '"""\nAdd.\nTwo numbers.\n"""\n', "return 1"),
        ("def f():\n", "def f():\n", "def f():\nreturn 1"),
        ("# Add.\n", "# Add.\n", "# Add.\nreturn 1"),
        ("\n", "\n", "\nreturn 1"),
        ("", "# \n", "return 1"),
    ],
)
def test_a_prompt_that_ends_in_a_newline_is_code_that_the_solution_goes_on_with(prompt, shown, program):
    problem, taskset = Problem("p", prompt, (AssertTest("assert True"),)), tasksets.get("jsonl")
    assert taskset.prompt(problem) == shown and taskset.program(problem, "return 1").source == program
