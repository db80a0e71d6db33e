"""CodeContests' records: which solutions count, limits, and nested lists in both of their forms."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.tasksets.records import CODECONTESTS, lines
from wmtp import tasksets
from wmtp.errors import DataError
from wmtp.tasksets import load_problems
from wmtp.types import IOTest, Solution


def test_codecontests_keeps_python_3_and_counts_the_rest_in_every_format(tmp_path):
    paths = [lines(tmp_path / "c.jsonl", CODECONTESTS), str(tmp_path / "c.parquet"), str(tmp_path / "c.arrow")]
    table = pa.Table.from_pylist([CODECONTESTS])
    pq.write_table(table, paths[1])
    with pa.ipc.new_stream(paths[2], table.schema) as writer:
        writer.write_table(table)
    for path in paths:
        left_out = Counter()
        (problem,) = load_problems("codecontests", path, left_out)
        assert left_out == {"other_language": 3}
        assert problem.solutions == (Solution("print(sum(map(int, input().split())))", True), Solution("print(3)", False))
        assert problem.tests == (IOTest("1 2\n", "3\n"), IOTest("5 5\n", "10\n"))
        assert (problem.difficulty, problem.time_limit_s, problem.memory_limit_bytes) == (800, 1.5, 256000000)
        assert tasksets.get("codecontests").prompt(problem).startswith('"""\nAdd two numbers.')
    unrated = CODECONTESTS | {"cf_rating": 0, "time_limit": None}
    (problem,) = load_problems("codecontests", lines(tmp_path / "c.jsonl", unrated))
    assert (problem.difficulty, problem.time_limit_s) == (0, 4.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"public_tests": {"input": ["1"], "output": []}},
            r"d\.jsonl:2: field 'public_tests' has 1 input but 0 output",
        ),
        ({"public_tests": {"input": ["1"]}}, r"d\.jsonl:2: public_tests: field 'output' is missing"),
        ({"time_limit": 3}, r"d\.jsonl:2: field 'time_limit' must hold seconds and nanos"),
        ({"time_limit": {"seconds": "3"}}, r"d\.jsonl:2: time_limit: field 'seconds' must be int, found str"),
        ({"solutions": {"language": [3], "solution": [7]}}, r"d\.jsonl:2: solutions: field 'solution'\[0\] must be str"),
        ({"solutions": [{"language": 3}]}, r"d\.jsonl:2: solutions\[0\]: field 'solution' is missing"),
    ],
)
def test_a_bad_record_is_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        list(load_problems("codecontests", lines(tmp_path / "d.jsonl", CODECONTESTS, CODECONTESTS | {"name": "b"} | changes)))


def test_a_list_of_pairs_says_the_same_as_two_lists(tmp_path):
    pairs = {
        "public_tests": [{"input": "1 2\n", "output": "3\n"}],
        "solutions": [
            {"language": "CPP", "solution": "int main(){}"},
            {"language": "PYTHON3", "solution": "print(sum(map(int, input().split())))"},
            {"language": 1, "solution": "print 3"},
        ],
    }
    counts = [Counter(), Counter()]
    (one,) = load_problems("codecontests", lines(tmp_path / "a.jsonl", CODECONTESTS), counts[0])
    (other,) = load_problems("codecontests", lines(tmp_path / "b.jsonl", CODECONTESTS | pairs), counts[1])
    assert one == other and counts[0] == counts[1] == {"other_language": 3}


def test_a_limit_of_nothing_is_a_usual_one(tmp_path):
    bare = CODECONTESTS | {"time_limit": {"seconds": 0, "nanos": 0}, "memory_limit_bytes": 0}
    (problem,) = load_problems("codecontests", lines(tmp_path / "c.jsonl", bare))
    assert (problem.time_limit_s, problem.memory_limit_bytes) == (4.0, 256 * 2**20)
