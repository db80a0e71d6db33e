"""CodeContests' records: which solutions count, limits, and nested lists in both of their forms."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.tasksets.records import CODECONTESTS, lines
from wmtp import tasksets
from wmtp.errors import DataError
from wmtp.problems.files import Reading
from wmtp.tasksets import load_problems
from wmtp.types import IOTest, Solution

OTHERS = {"other_language_cpp": 1, "other_language_python2": 1, "other_language_java": 1}
"""Solutions of the record that are not in Python 3."""


def test_codecontests_keeps_python_3_and_counts_the_rest_in_every_format(tmp_path):
    paths = [lines(tmp_path / "c.jsonl", CODECONTESTS), str(tmp_path / "c.parquet"), str(tmp_path / "c.arrow")]
    table = pa.Table.from_pylist([CODECONTESTS])
    pq.write_table(table, paths[1])
    with pa.ipc.new_stream(paths[2], table.schema) as writer:
        writer.write_table(table)
    for path in paths:
        reading = Reading()
        (problem,) = load_problems("codecontests", path, reading)
        assert reading.notes.left_out == OTHERS
        assert problem.solutions == (Solution("print(sum(map(int, input().split())))", True), Solution("print(3)", False))
        assert [solution.language for solution in problem.solutions] == ["python3", "python3"]
        assert problem.tests == (IOTest("1 2\n", "3\n"), IOTest("5 5\n", "10\n"))
        assert (problem.difficulty, problem.time_limit_s, problem.memory_limit_bytes) == (800, 1.5, 256000000)
        assert tasksets.get("codecontests").prompt(problem).startswith('"""\nAdd two numbers.')
    unrated = CODECONTESTS | {"cf_rating": 0, "time_limit": None}
    (problem,) = load_problems("codecontests", lines(tmp_path / "c.jsonl", unrated))
    assert (problem.difficulty, problem.time_limit_s) == (None, 4.0)


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
    readings = [Reading(), Reading()]
    (one,) = load_problems("codecontests", lines(tmp_path / "a.jsonl", CODECONTESTS), readings[0])
    (other,) = load_problems("codecontests", lines(tmp_path / "b.jsonl", CODECONTESTS | pairs), readings[1])
    assert one == other and readings[0].notes.left_out == readings[1].notes.left_out == OTHERS


def test_a_limit_of_nothing_is_a_usual_one(tmp_path):
    bare = CODECONTESTS | {"time_limit": {"seconds": 0, "nanos": 0}, "memory_limit_bytes": 0}
    (problem,) = load_problems("codecontests", lines(tmp_path / "c.jsonl", bare))
    assert (problem.time_limit_s, problem.memory_limit_bytes) == (4.0, 256 * 2**20)


NULLS = {
    "private_tests": {"input": [], "output": []},
    "incorrect_solutions": {"language": [], "solution": []},
    "time_limit": {"seconds": 0, "nanos": 0},
    "memory_limit_bytes": 0,
    "cf_rating": 0,
}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", NULLS)
def test_null_is_noted_and_says_what_the_datasets_own_nothing_says(tmp_path, name, suffix):
    path = tmp_path / f"null.{suffix}"
    if suffix == "jsonl":
        lines(path, CODECONTESTS | {name: None})
    else:  # with a second row, so that the column has its type
        pq.write_table(pa.Table.from_pylist([CODECONTESTS | {name: None}, CODECONTESTS | {"name": "b"}]), path)
    reading = Reading()
    null = next(iter(list(load_problems("codecontests", str(path), reading))))
    (nothing,) = load_problems("codecontests", lines(tmp_path / "nothing.jsonl", CODECONTESTS | {name: NULLS[name]}))
    assert null == nothing and reading.notes.unknown == {f"null_{name}": 1}


@pytest.mark.parametrize(("rating", "known"), [(0, None), (-1, None), (None, None), (800, 800)])
def test_a_rating_that_is_none_is_unknown(tmp_path, rating, known):
    reading = Reading()
    path = lines(tmp_path / "c.jsonl", CODECONTESTS | {"cf_rating": rating})
    (problem,) = load_problems("codecontests", path, reading)
    reason = {0: "zero_cf_rating", -1: "negative_cf_rating", None: "null_cf_rating"}
    assert problem.difficulty == known and reading.notes.unknown == ({reason[rating]: 1} if rating in reason else {})


@pytest.mark.parametrize("as_pairs", [False, True])
def test_a_solution_without_a_text_is_left_out_and_counted(tmp_path, as_pairs):
    solutions = {"language": [3, 3, 2], "solution": [None, "print(1)", None]}
    if as_pairs:
        solutions = [{"language": n, "solution": text} for n, text in zip(*solutions.values(), strict=True)]
    reading = Reading()
    path = lines(tmp_path / "c.jsonl", CODECONTESTS | {"solutions": solutions, "incorrect_solutions": None})
    (problem,) = load_problems("codecontests", path, reading)
    assert problem.solutions == (Solution("print(1)", True),)
    assert reading.notes.left_out == {"null_solution": 1, "other_language_cpp": 1}


def test_problems_of_one_name_from_two_sources_are_two(tmp_path):
    records = [CODECONTESTS, CODECONTESTS | {"source": 1}, CODECONTESTS | {"name": "b"}]
    problems = load_problems("codecontests", lines(tmp_path / "c.jsonl", *records))
    assert [p.problem_id for p in problems] == ["codecontests/1_A. Sum", "codecontests/1_A. Sum (1)", "codecontests/b"]
    with pytest.raises(DataError, match=r"c\.jsonl:2: duplicate id 'codecontests/1_A\. Sum', first seen at .*c\.jsonl:1"):
        list(load_problems("codecontests", lines(tmp_path / "c.jsonl", CODECONTESTS, CODECONTESTS)))


@pytest.mark.parametrize("field", ["description", "name"])
def test_a_problem_without_a_statement_or_a_name_is_no_problem(tmp_path, field):
    with pytest.raises(DataError, match=rf"c\.jsonl:1: field '{field}' must be str, found NoneType"):
        list(load_problems("codecontests", lines(tmp_path / "c.jsonl", CODECONTESTS | {field: None})))


def test_what_no_language_is_called_is_counted_as_unknown(tmp_path):
    strange = {"language": [0, 9, None, [3], "Rust", "a/b c"], "solution": ["x"] * 6}
    reading = Reading()
    path = lines(tmp_path / "c.jsonl", CODECONTESTS | {"solutions": strange, "incorrect_solutions": None})
    (problem,) = load_problems("codecontests", path, reading)
    assert problem.solutions == ()
    assert reading.notes.left_out == {"other_language_unknown": 5, "other_language_rust": 1}
