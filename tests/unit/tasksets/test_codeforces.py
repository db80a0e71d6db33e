"""open-r1/codeforces' records, and outputs that only a problem's own checker can judge."""

import pytest

from tests.unit.tasksets.contests import CODEFORCES, read, verdicts
from wmtp.errors import DataError
from wmtp.problems.files import Reading
from wmtp.types import IOTest


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_record(tmp_path, name):
    (problem,) = read("codeforces", tmp_path / name, CODEFORCES)
    assert problem.prompt == (
        "Print a divisor of n other than 1.\n\nInput\nOne number n.\n\nOutput\nA divisor.\n\n"
        "Example input\n6\nExample output\n2"
    )
    assert (problem.problem_id, problem.difficulty, problem.time_limit_s, problem.memory_limit_bytes) == (
        "codeforces/1/A",
        800,
        1.0,
        2**26,
    )
    assert len(problem.tests) == 2 and problem.own_checker == CODEFORCES["generated_checker"]


def test_the_problems_own_checker_judges(tmp_path):
    (problem,) = read("codeforces", tmp_path / "a.jsonl", CODEFORCES)
    (plain,) = read("codeforces", tmp_path / "a.jsonl", CODEFORCES | {"generated_checker": None})
    other = "print(input())"  # a number divides itself
    assert verdicts("codeforces", problem, other, "print(2)", "print('none')", "print(1)") == ["passed"] + 3 * ["wrong_answer"]
    assert verdicts("codeforces", plain, other) == ["wrong_answer"]


def test_what_cannot_be_run_has_no_tests_and_is_noted(tmp_path):
    talks, files = CODEFORCES | {"interaction_format": "Ask."}, CODEFORCES | {"id": "2/A", "input_mode": "file"}
    few = CODEFORCES | {"id": "3/A", "official_tests": None, "rating": None}
    reading = Reading()
    first, second, third = read("codeforces", tmp_path / "a.jsonl", talks, files, few, reading=reading)
    assert first.tests == second.tests == () and third.tests == (IOTest("6\n", "2\n"),)
    noted = {key: number for key, number in reading.notes.unknown.items() if not key.startswith("null_")}
    assert noted == {"interactive": 1, "input_from_a_file": 1} and third.difficulty is None


def test_a_bad_record_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:1: examples\[0\] must hold input and output"):
        read("codeforces", tmp_path / "a.jsonl", CODEFORCES | {"examples": ["6"]})
