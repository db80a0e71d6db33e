"""HumanEval+ as a table, and as a benchmark."""

import pytest

from tests.unit.tasksets.plus import HUMANEVAL, HUMANEVAL_ROW, read, verdicts
from wmtp import tasksets
from wmtp.errors import DataError
from wmtp.types import Limits


@pytest.mark.parametrize("name", ["humanevalplus", "humaneval"])
def test_the_tables_of_humaneval_plus_have_finished_tests(tmp_path, name):
    problem = read(name, tmp_path / "p.parquet", HUMANEVAL_ROW)
    assert problem.time_limit_s == 60.0
    assert problem.num_base_tests is None and problem.tests[0].code.endswith("check(half)\n")
    assert verdicts(name, problem, "    return x / 2\n", "    return x // 2\n") == [("passed", 1), ("wrong_answer", 0)]


def test_its_limits_are_evalplus_and_its_prompts_humanevals(tmp_path):
    problem = read("humanevalplus", tmp_path / "p.jsonl", HUMANEVAL)
    taskset = tasksets.get("humanevalplus")
    assert taskset.program(problem, "", Limits(1.0, 2**26)).limits == Limits(60.0, 2**30)
    assert taskset.prompt(problem) == HUMANEVAL["prompt"] and taskset.not_for_training


def test_humanevals_own_records_are_no_humaneval_plus(tmp_path):
    """A score on them would be on the base tests alone, under the name of both."""
    own = HUMANEVAL_ROW | {"test": "def check(candidate):\n    assert candidate(4) == 2  # inputs = [4]\n"}
    with pytest.raises(DataError, match=r"p\.jsonl:1 has a test of HumanEval, and none of HumanEval\+: its"):
        read("humanevalplus", tmp_path / "p.jsonl", own)
    assert read("humaneval", tmp_path / "p.jsonl", own).time_limit_s == 3.0
