"""LiveCodeBench's records: programs and methods, private tests in both of their forms."""

import base64
import json
import pickle
import zlib

import pytest

from tests.unit.tasksets.contests import LIVECODEBENCH, METHOD, packed, read, verdicts
from wmtp import tasksets
from wmtp.errors import DataError
from wmtp.evaluation.asking import Asking
from wmtp.tasksets.livecodebench import assemble
from wmtp.types import IOTest


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_programs_on_standard_input(tmp_path, name):
    (problem,) = read("livecodebench", tmp_path / name, LIVECODEBENCH)
    assert (problem.problem_id, problem.prompt, problem.difficulty) == ("livecodebench/abc1_a", "Add two numbers.\n", 1)
    assert problem.tests == (IOTest("1 2\n", "3\n"), IOTest("5 6", "11")) and problem.time_limit_s == 6.0
    right, as_decimal = "print(sum(map(int, input().split())))", "print(f'{sum(map(int, input().split()))}.0 ')"
    unimported = "print(reduce(operator.add, map(int, stdin.readline().split())))"
    found = verdicts("livecodebench", problem, right, as_decimal, unimported, "print(3)", "print(3, 11, sep='\\n')")
    assert found == ["passed", "passed", "passed", "wrong_answer", "wrong_answer"]


def test_methods(tmp_path):
    (problem,) = read("livecodebench", tmp_path / "a.jsonl", METHOD)
    assert (problem.prompt, problem.starter) == (METHOD["question_content"], METHOD["starter_code"])
    right = "class Solution:\n    def count(self, xs: List[int], x: int) -> int:\n        return xs.count(x)"
    wrong = right.replace("count(x)", "index(x)")
    assert problem.time_limit_s == 12.0 and verdicts("livecodebench", problem, right, wrong)[0] == "passed"
    assert verdicts("livecodebench", problem, wrong, "class Solution: pass") == ["wrong_answer", "runtime_error"]


STARTER = "class Solution:\n    def count(self, xs: List[int], x: int) -> int:\n        "
EXAMPLES = [
    {"question": "Double it.", "answer": "print(2 * int(input()))\n"},
    {"question": "Halve it.", "sample_code": "class Solution:\n    ", "answer": "class Solution: ..."},
    {"question": "Triple it.", "answer": "print(3 * int(input()))"},
]


def asked(tmp_path, **options):
    problems = read("livecodebench", tmp_path / "a.jsonl", LIVECODEBENCH, METHOD)
    taskset = Asking(**options).prepare(tasksets.get("livecodebench"), problems).of(lambda: True)
    return taskset, *problems


def test_the_plain_prompt_has_question_and_starter_in_a_comment(tmp_path):
    taskset, program, method = asked(tmp_path)
    assert taskset.prompt(program) == "# Add two numbers.\n" and not taskset.in_chat
    assert taskset.prompt(method) == f'"""\nAdd two numbers.\n\n{STARTER.strip()}\n"""\n'


def test_a_chat_is_asked_with_the_starter_in_a_fence_and_the_last_fence_is_what_runs(tmp_path):
    taskset, program, method = asked(tmp_path, prompt="lcb-chat")
    assert taskset.in_chat and taskset.system.startswith("You are an expert Python programmer.") and taskset.stop == ("###",)
    assert taskset.system.endswith(" passes all tests.") and taskset.max_new_tokens == 2000
    head, form, code = taskset.prompt(method).split("```")
    assert head.startswith("### Question:\nAdd two numbers.\n\n\n### Format: You will use the following starter code")
    assert form == f"python\n{STARTER}\n" and code == "\n\n### Answer: (use the provided format with backticks)\n\n"
    text = taskset.prompt(program)
    assert "```python\n# YOUR CODE HERE\n```" in text and "Read the inputs from stdin" in text
    answer = "So:\n```python\nprint(1)\n```\nor\n```\nprint(2)\n  ```\nthat."
    assert taskset.source(program, answer) == assemble(program, "print(2)")
    assert taskset.source(program, "print(2)\n```") == assemble(program, "")


def test_a_base_model_is_shown_the_first_example_of_the_questions_kind(tmp_path):
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples/all.json").write_text(json.dumps(EXAMPLES))
    taskset, program, method = asked(tmp_path, prompt="lcb-base", shots=str(tmp_path / "examples"))
    assert taskset.prompt(program) == (
        "### Question\nDouble it.\n\n### Answer\n\nprint(2 * int(input()))\n\n\n"
        "### Question\nAdd two numbers.\n\n\n### Answer\n\n"
    )
    assert taskset.prompt(method) == (
        "### Question\nHalve it.\n\n### Starter Code\nclass Solution:\n    \n\n### Answer\n\nclass Solution: ...\n\n"
        f"### Question\nAdd two numbers.\n\n\n### Starter Code\n{STARTER}\n\n### Answer\n\n"
    )
    assert taskset.source(program, " print(1)\n\n") == assemble(program, "print(1)") and not taskset.in_chat


def test_an_example_of_every_kind_is_needed(tmp_path):
    (tmp_path / "programs.json").write_text(json.dumps(EXAMPLES[::2]))
    with pytest.raises(DataError, match="holds 0 problems of the kind of livecodebench/1, and 1 solved examples are asked for"):
        asked(tmp_path, prompt="lcb-base", shots=str(tmp_path / "programs.json"))


def test_private_tests_may_be_plain(tmp_path):
    plain = json.dumps([{"input": "5 6", "output": "11", "testtype": "stdin"}])
    (problem,) = read("livecodebench", tmp_path / "a.jsonl", LIVECODEBENCH | {"private_test_cases": plain})
    assert [problem] == read("livecodebench", tmp_path / "b.jsonl", LIVECODEBENCH)


class Opened:
    def __reduce__(self):
        return (open, ("opened", "w"))


def zipped(data):
    return base64.b64encode(zlib.compress(data)).decode()


@pytest.mark.parametrize(
    ("private", "message"),
    [
        (zipped(pickle.dumps(Opened())), r"private_test_cases is a pickle of more than a text"),
        (zipped(pickle.dumps(["[]"])), r"private_test_cases is a pickle of more than a text"),
        (zipped(b"no pickle"), r"private_test_cases is no pickle of a text"),
        (zipped(pickle.dumps("{")), r"private_test_cases: not valid JSON"),
        (zipped(pickle.dumps("{}")), r"private_test_cases must hold a list of objects"),
        (packed([{"input": "1", "output": "1", "testtype": "magic"}]), r"private_test_cases\[0\]: field 'testtype' must be"),
        (packed([{"input": "1", "output": "1", "testtype": "functional"}]), r"private_test_cases\[0\] is of a function"),
        ("not base64", r"private_test_cases is neither JSON nor packed"),
        (base64.b64encode(b"not packed").decode(), r"private_test_cases is neither JSON nor packed"),
        (zipped(pickle.dumps("[]"))[:-8] + "AAAA", r"private_test_cases is "),
    ],
)
def test_what_is_packed_otherwise_is_refused_and_never_opened(tmp_path, monkeypatch, private, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"a\.jsonl:1: {message}"):
        read("livecodebench", tmp_path / "a.jsonl", LIVECODEBENCH | {"private_test_cases": private})
    assert not (tmp_path / "opened").exists()


def test_two_kinds_of_tests_in_one_problem_are_refused(tmp_path):
    mixed = METHOD | {"private_test_cases": packed([{"input": "1", "output": "1", "testtype": "stdin"}])}
    with pytest.raises(DataError, match="not one kind"):
        read("livecodebench", tmp_path / "a.jsonl", mixed)
