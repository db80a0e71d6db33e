"""MBPP's records, full and sanitized."""

from dataclasses import replace

import pytest

from tests.unit.tasksets.records import MBPP, lines
from wmtp import tasksets
from wmtp.errors import DataError
from wmtp.problems.shots import choose_shots
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
    assert (
        problem.prompt == "Add."
        and problem.asserts == tuple(MBPP["test_list"])
        and problem.tests[0] == AssertTest("import os\nassert add(1, 2) == 3")
    )


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


def test_prompts_keep_every_blank_of_the_record(tmp_path):
    record = MBPP | {"text": " Add numbers. ", "test_list": ["assert add(1, 2) == 3 ", "assert add(2, 2) == 4"]}
    (problem,) = load_problems("mbpp", lines(tmp_path / "m.jsonl", record))
    taskset = tasksets.get("mbpp")
    assert taskset.prompt(problem) == '"""\n Add numbers. \nassert add(1, 2) == 3 \n"""\n'
    assert taskset.asked(taskset.format("austin")).prompt(problem) == (
        "You are an expert Python programmer, and here is your task:  Add numbers.  Your code should pass these tests:\n\n"
        "assert add(1, 2) == 3 \nassert add(2, 2) == 4\n[BEGIN]\n"
    )


def test_three_examples_of_the_papers_ids_with_their_code_as_published(tmp_path):
    records = [MBPP | {"task_id": i, "text": f"Task {i}.", "code": f"x = {i} \r\n"} for i in (4, 1, 2, 3)]
    taskset = tasksets.get("mbpp")
    (problem,) = load_problems("mbpp", lines(tmp_path / "m.jsonl", MBPP | {"task_id": 11}))
    austin = taskset.format("austin")
    shots = choose_shots(austin, [problem], taskset.read, source=lines(tmp_path / "t.jsonl", *records))
    parts = taskset.asked(austin, shots).prompt(problem).split("\n[DONE]\n\n")
    assert [part.partition(" Your")[0][-7:] for part in parts[:3]] == ["Task 2.", "Task 3.", "Task 4."]
    assert [part.partition("[BEGIN]\n")[2] for part in parts] == ["x = 2 \r\n", "x = 3 \r\n", "x = 4 \r\n", ""]
    assert taskset.asked(austin).stop == ("[DONE]",)


def test_a_sanitized_answer_is_the_code_that_the_asserts_need(tmp_path):
    (problem,) = load_problems("mbpp", lines(tmp_path / "m.jsonl", MBPP))
    taskset = replace(tasksets.get("mbpp"), sanitizes=True)
    answer = "Here:\n```python\ndef add(a, b):\n    return a + b\nprint(add(1, 2))\n```\nBye, now"
    assert taskset.program(problem, answer).source == "def add(a, b):\n    return a + b"


@pytest.mark.parametrize(
    ("number", "split"),
    [
        (1, "prompt"),
        (10, "prompt"),
        (11, "test"),
        (510, "test"),
        (511, "validation"),
        (600, "validation"),
        (601, "train"),
        (974, "train"),
    ],
)
def test_the_number_tells_the_split(number, split, tmp_path):
    (problem,) = load_problems("mbpp", lines(tmp_path / "m.jsonl", {**MBPP, "task_id": number}))
    assert tasksets.get("mbpp").split(problem) == split
