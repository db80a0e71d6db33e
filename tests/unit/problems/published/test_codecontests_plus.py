"""CodeContests+' records: what is null, and what is none."""

import pytest

from tests.unit.tasksets.contests import CODECONTESTS_PLUS, read
from wmtp.errors import DataError
from wmtp.problems.files import Reading


def test_null_is_nothing_and_is_noted(tmp_path):
    null = dict.fromkeys(("checker", "time_limit", "memory_limit", "test_cases", "incorrect_submissions"))
    reading = Reading()
    (problem,) = read("codecontestsplus", tmp_path / "a.jsonl", CODECONTESTS_PLUS | null, reading=reading)
    assert (problem.time_limit_s, problem.memory_limit_bytes, problem.tests) == (4.0, 2**28, ())
    assert reading.notes.unknown == {f"null_{name}": 1 for name in null}


def test_a_checker_is_the_problems_and_one_of_blanks_is_none(tmp_path):
    first, second = CODECONTESTS_PLUS | {"checker": "int main() {}"}, CODECONTESTS_PLUS | {"checker": " \n", "id": "2_A"}
    problems = read("codecontestsplus", tmp_path / "a.jsonl", first, second)
    assert [problem.testlib_checker for problem in problems] == ["int main() {}", ""]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checker": 5}, "field 'checker' must be str"),
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
