"""MBPP's records, full and sanitized."""

import pytest

from tests.unit.tasksets.records import MBPP, lines
from wmtp import tasksets
from wmtp.errors import DataError
from wmtp.tasksets import load_problems
from wmtp.types import AssertTest, Solution


def test_mbpp_statement_with_first_assert_set_up_before_every_test_and_unix_newlines(tmp_path):
    (problem,) = load_problems("mbpp", lines(tmp_path / "m.jsonl", MBPP))
    assert problem.problem_id == "mbpp/7"
    assert tasksets.get("mbpp").prompt(problem) == '"""\nWrite a function to add.\nassert add(1, 2) == 3\n"""\n'
    assert problem.tests == (AssertTest("W = 5\nassert add(1, 2) == 3"), AssertTest("W = 5\nassert add(W, 0) == 5"))
    assert problem.solutions == (Solution("import math\ndef add(a, b):\n\treturn a + b", True),)


def test_the_sanitized_mbpp_names_its_fields_otherwise(tmp_path):
    record = {k: v for k, v in MBPP.items() if k not in ("text", "test_setup_code")} | {
        "prompt": "Add.",
        "test_imports": ["import os"],
    }
    (problem,) = load_problems("mbpp", lines(tmp_path / "m.jsonl", record))
    assert problem.prompt.startswith("Add.\n") and problem.tests[0] == AssertTest("import os\nassert add(1, 2) == 3")


def test_a_task_without_asserts_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"d\.jsonl:2: field 'test_list' is empty"):
        list(load_problems("mbpp", lines(tmp_path / "d.jsonl", MBPP | {"task_id": 1}, MBPP | {"test_list": []})))


def test_a_right_program_passes_its_own_asserts_and_is_not_cut_by_a_stop_string(tmp_path):
    (problem,) = load_problems("mbpp", lines(tmp_path / "m.jsonl", MBPP))
    taskset = tasksets.get("mbpp")
    program = taskset.program(problem, problem.solutions[0].code)
    for test in program.tests:
        exec(f"{program.source}\n{test.code}", {})
    assert not any(stop in program.source for stop in taskset.stop) and program.limits.time_limit_s == 3.0
