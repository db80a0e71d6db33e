"""MBPP+ as a table, and as a benchmark."""

import pytest

from tests.unit.tasksets.plus import MBPP_ROW, read, verdicts
from wmtp import tasksets
from wmtp.types import AssertTest


@pytest.mark.parametrize("name", ["mbppplus", "mbpp"])
def test_the_tables_of_mbpp_plus_are_never_scored_on_the_asserts_alone(tmp_path, name):
    problem = read(name, tmp_path / "p.parquet", MBPP_ROW)
    assert (problem.problem_id, problem.num_base_tests, problem.asserts) == ("Mbpp/2", 2, tuple(MBPP_ROW["test_list"]))
    assert problem.tests[0] == AssertTest("import math\nassert double(2) == 4")
    base_only = "def double(x):\n    return x + 2 if x == 2 else 2"
    assert verdicts(name, problem, MBPP_ROW["code"], base_only) == [("passed", 3), ("wrong_answer", 2)]


def test_it_is_asked_as_mbpp_is_and_not_trained_on(tmp_path):
    problem = read("mbppplus", tmp_path / "p.parquet", MBPP_ROW)
    shown = tasksets.get("mbppplus").prompt(problem)
    assert shown == tasksets.get("mbpp").prompt(problem) == f'"""\n{MBPP_ROW["prompt"]}\n{MBPP_ROW["test_list"][0]}\n"""\n'
    assert "mbppplus" not in tasksets.sources()
