"""HumanEval+ as a table, and as a benchmark."""

import pytest

from tests.unit.tasksets.plus import HUMANEVAL, HUMANEVAL_ROW, read, verdicts
from wmtp import tasksets
from wmtp.types import Limits


@pytest.mark.parametrize("name", ["humanevalplus", "humaneval"])
def test_the_tables_of_humaneval_plus_have_finished_tests(tmp_path, name):
    problem = read(name, tmp_path / "p.parquet", HUMANEVAL_ROW)
    assert problem.num_base_tests is None and problem.tests[0].code.endswith("check(half)\n")
    assert verdicts(name, problem, "    return x / 2\n", "    return x // 2\n") == [("passed", 1), ("wrong_answer", 0)]


def test_its_limits_are_evalplus_and_its_prompts_humanevals(tmp_path):
    problem = read("humanevalplus", tmp_path / "p.jsonl", HUMANEVAL)
    taskset = tasksets.get("humanevalplus")
    assert taskset.program(problem, "", Limits(1.0, 2**26)).limits == Limits(60.0, 2**30)
    assert taskset.prompt(problem) == HUMANEVAL["prompt"] and taskset.not_for_training
