"""CodeContests+' records, under its own name and under CodeContests'."""

import pytest

from tests.unit.tasksets.contests import CODECONTESTS_PLUS, read
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
    assert reading.notes.left_out == {"other_language_cpp": 1, "other_language_py2": 1}
