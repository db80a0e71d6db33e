"""LiveCodeBench's records: programs and methods, private tests in both of their forms."""

import base64
import json
import pickle
import zlib

import pytest

from tests.unit.tasksets.contests import LIVECODEBENCH, METHOD, packed, read, verdicts
from wmtp.errors import DataError
from wmtp.types import IOTest


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_programs_on_standard_input(tmp_path, name):
    (problem,) = read("livecodebench", tmp_path / name, LIVECODEBENCH)
    assert (problem.problem_id, problem.prompt, problem.difficulty) == ("livecodebench/abc1_a", "Add two numbers.", 1)
    assert problem.tests == (IOTest("1 2\n", "3\n"), IOTest("5 6", "11")) and problem.time_limit_s == 6.0
    right, as_decimal = "print(sum(map(int, input().split())))", "print(f'{sum(map(int, input().split()))}.0 ')"
    unimported = "print(reduce(operator.add, map(int, stdin.readline().split())))"
    found = verdicts("livecodebench", problem, right, as_decimal, unimported, "print(3)", "print(3, 11, sep='\\n')")
    assert found == ["passed", "passed", "passed", "wrong_answer", "wrong_answer"]


def test_methods(tmp_path):
    (problem,) = read("livecodebench", tmp_path / "a.jsonl", METHOD)
    assert problem.prompt.endswith("\n\nclass Solution:\n    def count(self, xs: List[int], x: int) -> int:")
    right = "class Solution:\n    def count(self, xs: List[int], x: int) -> int:\n        return xs.count(x)"
    wrong = right.replace("count(x)", "index(x)")
    assert problem.time_limit_s == 12.0 and verdicts("livecodebench", problem, right, wrong)[0] == "passed"
    assert verdicts("livecodebench", problem, wrong, "class Solution: pass") == ["wrong_answer", "runtime_error"]


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
