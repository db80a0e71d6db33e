"""TACO's records: APPS' with limits, finer grades and no ids."""

import pytest

from tests.unit.tasksets.contests import TACO, read, verdicts
from wmtp.errors import DataError


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_limits_and_grades(tmp_path, name):
    (problem,) = read("taco", tmp_path / name, TACO)
    assert (problem.difficulty, problem.time_limit_s, problem.memory_limit_bytes) == (3, 2.5, 128 * 2**20)
    assert problem.problem_id.startswith("taco/") and len(problem.tests) == len(problem.solutions) == 2
    assert verdicts("taco", problem, problem.solutions[0].code, "print(3)") == ["passed", "wrong_answer"]


def test_programs_are_judged_as_by_the_benchmarks_own_tester(tmp_path):
    (problem,) = read("taco", tmp_path / "a.jsonl", TACO | {"input_output": '{"inputs": [""], "outputs": ["1\\n2\\n"]}'})
    found = verdicts(
        "taco", problem, "print(1)\nprint(2)", "print(1, 2)", "print(end='12')", "import math\nprint(1.0)\nprint(2)"
    )
    assert found == ["passed", "passed", "passed", "wrong_answer"]


def test_what_is_not_told(tmp_path):
    bare = TACO | {"time_limit": None, "memory_limit": "", "difficulty": "UNKNOWN_DIFFICULTY"}
    (problem,) = read("taco", tmp_path / "a.jsonl", bare)
    assert (problem.difficulty, problem.time_limit_s, problem.memory_limit_bytes) == (None, 4.0, 512 * 2**20)
    (second,) = read("taco", tmp_path / "a.jsonl", TACO | {"time_limit": "1 second", "memory_limit": "64 kilobytes"})
    assert (second.time_limit_s, second.memory_limit_bytes) == (1.0, 2**16)


@pytest.mark.parametrize("limit", ["2.0", "two seconds", "2 fortnights", "-1 seconds"])
def test_a_limit_that_is_none_is_named(tmp_path, limit):
    with pytest.raises(DataError, match=r"a\.jsonl:1: field 'time_limit' must be like '2\.0 seconds'"):
        read("taco", tmp_path / "a.jsonl", TACO | {"time_limit": limit})
