"""CodeContests+' records, under its own name and under CodeContests'."""

import pytest

from tests.unit.tasksets.contests import CODECONTESTS_PLUS, read
from wmtp.errors import DataError
from wmtp.problems.files import Reading
from wmtp.types import IOTest, Solution


@pytest.mark.parametrize("taskset", ["codecontestsplus", "codecontests"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_record(tmp_path, taskset, name):
    reading = Reading()
    (problem,) = read(taskset, tmp_path / name, CODECONTESTS_PLUS, reading=reading)
    assert (problem.problem_id, problem.time_limit_s, problem.memory_limit_bytes, problem.difficulty) == (
        "codecontestsplus/Codeforces/1_A",
        1.5,
        2**26,
        None,
    )
    assert problem.tests == (IOTest("1 2\n", "3\n"),)
    assert problem.solutions == (Solution("print(3)", True), Solution("print(4)", False))
    assert reading.notes.left_out == {"other_language": 2}


def test_null_is_nothing_and_is_noted(tmp_path):
    null = dict.fromkeys(("checker", "time_limit", "memory_limit", "test_cases", "incorrect_submissions"))
    reading = Reading()
    (problem,) = read("codecontestsplus", tmp_path / "a.jsonl", CODECONTESTS_PLUS | null, reading=reading)
    assert (problem.time_limit_s, problem.memory_limit_bytes, problem.tests) == (4.0, 2**28, ())
    assert reading.notes.unknown == {f"null_{name}": 1 for name in null}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checker": '#include "testlib.h"'}, "field 'checker' is in C\\+\\+, which cannot be run here"),
        ({"test_cases": [{"input": "1"}]}, "field 'output' is missing"),
        ({"test_cases": ["1"]}, r"test_cases\[0\] must hold input and output"),
        ({"correct_submissions": ["print(1)"]}, r"correct_submissions\[0\] must hold code and language"),
        ({"description": None}, "field 'description' must be str"),
        ({"time_limit": -5}, "the time limit must be a positive number of seconds"),
    ],
)
def test_a_bad_record_is_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=rf"a\.jsonl:1: {message}"):
        read("codecontestsplus", tmp_path / "a.jsonl", CODECONTESTS_PLUS | changes)
