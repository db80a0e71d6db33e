"""APPS' records, as lines and as a table."""

import json

import pytest

from tests.unit.tasksets.contests import APPS, CALLED, read, verdicts
from wmtp.errors import DataError
from wmtp.problems.files import Reading
from wmtp.types import IOTest, Solution


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_record_is_read_out_of_its_texts(tmp_path, name):
    one, other = read("apps", tmp_path / name, APPS, CALLED)
    assert (one.problem_id, one.prompt, one.difficulty) == ("apps/7", "Add two numbers.", 2)
    assert one.tests == (IOTest("1 2\n", "3\n"), IOTest("3 4\n", "7"))
    assert one.solutions[0] == Solution("print(sum(map(int, input().split())))", True)
    assert other.prompt == "Pair up.\n\nclass Solution:\n    def pair(self, a, b):"
    assert verdicts("apps", one, one.solutions[1].code, "print(3)") == ["passed", "wrong_answer"]


def test_programs_are_judged_as_by_the_benchmarks_own_tester(tmp_path):
    pairs = {"inputs": ["3\n"], "outputs": ["1 2\n3\n"]}
    (problem,) = read("apps", tmp_path / "a.jsonl", APPS | {"input_output": json.dumps(pairs)})
    completions = ["print(3)\nprint(2, 1)", "print(*accumulate([1, 1]))\nprint(floor(3.5))", "print(1, 2, 3)"]
    assert verdicts("apps", problem, *completions) == ["passed", "passed", "wrong_answer"]


def test_functions_and_methods_are_called(tmp_path):
    (problem,) = read("apps", tmp_path / "a.jsonl", CALLED)
    as_function = "def pair(a, b):\n    return [a, b]"
    nothing, wrong = "def other(a, b):\n    return [a, b]", "def pair(a, b):\n    return [b, a]"
    found = verdicts("apps", problem, problem.solutions[0].code, as_function, nothing, wrong)
    assert found == ["passed", "passed", "wrong_answer", "wrong_answer"]


def test_other_names_and_nothing_at_all(tmp_path):
    named = {key: value for key, value in APPS.items() if key != "problem_id"} | {"id": 3}
    empty = APPS | {"solutions": "", "input_output": "", "difficulty": None, "starter_code": None}
    reading = Reading()
    first, second = read("apps", tmp_path / "a.jsonl", named, empty, reading=reading)
    assert first.problem_id == "apps/3" and (second.tests, second.solutions, second.difficulty) == ((), (), None)
    assert reading.notes.unknown == {"null_difficulty": 1, "null_starter_code": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_output": "{"}, "input_output: not valid JSON"),
        ({"input_output": "[]"}, "input_output must hold an object, found list"),
        ({"input_output": '{"inputs": ["1"], "outputs": []}'}, "input_output has 1 inputs but 0 outputs"),
        ({"input_output": '{"inputs": [3], "outputs": ["1"]}'}, r"input_output: inputs\[0\] must be a text or a list of lines"),
        ({"input_output": '{"inputs": ["1"], "outputs": ["1"], "fn_name": "f"}'}, "must be a list of arguments, found str"),
        ({"input_output": '{"inputs": [[1]], "outputs": [1], "fn_name": "sorted"}'}, "'sorted' is no name of a function"),
        ({"solutions": "[3]"}, r"field 'solutions'\[0\] must be str, found int"),
        ({"solutions": json.dumps(["\ud800"])}, r"solutions\[0\] holds '\\ud800', half of a character"),
        ({"difficulty": "fierce"}, "field 'difficulty' must be one of introductory, interview, competition, found 'fierce'"),
        ({"question": None}, "field 'question' must be str, found NoneType"),
    ],
)
def test_a_bad_record_is_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=rf"a\.jsonl:1: {message}|a\.jsonl:1: .*{message}"):
        read("apps", tmp_path / "a.jsonl", APPS | changes)
