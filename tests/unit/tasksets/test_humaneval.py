"""HumanEval's records: prompts that are code, and one test that calls the function by its name."""

import pytest

from tests.unit.tasksets.contests import verdicts
from tests.unit.tasksets.records import HUMANEVAL, lines
from wmtp import tasksets
from wmtp.errors import DataError
from wmtp.evaluation.pass_at_k import pass_at_k
from wmtp.tasksets import load_problems


def test_humaneval_prompt_is_code_and_runs_with_the_completion(tmp_path):
    (problem,) = load_problems("humaneval", lines(tmp_path / "h.jsonl", HUMANEVAL))
    assert tasksets.get("humaneval").prompt(problem) == HUMANEVAL["prompt"]
    namespace = {}
    exec(tasksets.get("humaneval").program(problem, problem.solutions[0].code).source + "\n" + problem.tests[0].code, namespace)
    assert "check(one)" in problem.tests[0].code


def test_a_wrong_body_fails_its_check(tmp_path):
    (problem,) = load_problems("humaneval", lines(tmp_path / "h.jsonl", HUMANEVAL))
    program = tasksets.get("humaneval").program(problem, "    return 2\n")
    with pytest.raises(AssertionError):
        exec(f"{program.source}\n{program.tests[0].code}", {})


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "    \n", "\n    "])
def test_a_prompt_stays_to_its_last_blank(end, tmp_path):
    record = HUMANEVAL | {"prompt": f'\ndef one():\n    """One."""{end}'}
    (problem,) = load_problems("humaneval", lines(tmp_path / "h.jsonl", record))
    taskset = tasksets.get("humaneval")
    assert taskset.prompt(problem) == record["prompt"]
    assert taskset.program(problem, "\n    return 1").source == record["prompt"] + "\n    return 1"
    stripped = taskset.asked(taskset.format("bigcode"))
    assert stripped.prompt(problem) == record["prompt"].strip() and "\n@" in stripped.stop
    assert stripped.program(problem, "\n    return 1").source == record["prompt"].strip() + "\n    return 1"


def test_windows_line_ends_are_gone(tmp_path):
    windows = {key: value.replace("\n", "\r\n") for key, value in HUMANEVAL.items()}
    (problem,) = load_problems("humaneval", lines(tmp_path / "h.jsonl", windows))
    assert "\r" not in problem.prompt + problem.tests[0].code + problem.solutions[0].code


def test_evalplus_runs_the_code_of_the_prompt_and_the_answer_without_what_follows(tmp_path):
    (problem,) = load_problems("humaneval", lines(tmp_path / "h.jsonl", HUMANEVAL))
    taskset = tasksets.get("humaneval")
    base = taskset.asked(taskset.format("evalplus"))
    source = base.program(problem, "    return 1\n\nprint(one())\n").source
    assert source.startswith("def one") and source.endswith("return 1") and "print" not in source
    chat = taskset.asked(taskset.format("evalplus").in_chat)
    assert chat.program(problem, "def one():\n    return 1\n```\nWell, that is all").source == "def one():\n    return 1"


def test_a_missing_field_is_named(tmp_path):
    record = {key: value for key, value in HUMANEVAL.items() if key != "entry_point"}
    with pytest.raises(DataError, match=r"h\.jsonl:1: field 'entry_point' is missing"):
        list(load_problems("humaneval", lines(tmp_path / "h.jsonl", record)))


def test_half_of_the_benchmarks_own_kinds_of_example_completions_pass(tmp_path):
    """As human-eval's README has its example: a shell, a sleep and a question to a user fail; any way to indent is right."""
    record = HUMANEVAL | {"prompt": "def one():\n", "test": "def check(candidate):\n    assert candidate() == 1\n"}
    (problem,) = load_problems("humaneval", lines(tmp_path / "h.jsonl", record))
    found = verdicts(
        "humaneval",
        problem,
        "    import os, subprocess\n    subprocess.run('ls /', shell=True, check=True)\n    return 1",
        "    import time\n    time.sleep(30)\n    return 1",
        "    return int(input('which number? '))",
        "    return 1",
        " return 1",
        "\treturn 1",
    )
    assert found == ["runtime_error", "timeout", "runtime_error", *3 * ["passed"]]
    assert pass_at_k(len(found), found.count("passed"), 1) == pytest.approx(0.5)
