"""Our own schema's round trip, and errors that name file, line and field."""

from dataclasses import replace

import pytest

from tests.unit.tasksets.records import MBPP, lines
from wmtp.errors import ConfigError, DataError
from wmtp.problems.files import Reading, read_problems, write_problems
from wmtp.tasksets import load_problems
from wmtp.types import AssertTest, IOTest, Problem, Solution


def test_our_own_schema_round_trips(tmp_path):
    problems = [
        Problem("p1", "Add λ.", (IOTest("1\n", "1\n"),), 2, 1.5, 2**28, (Solution("print(1)", True), Solution("pass", False))),
        Problem("p2", "Code:\n", (AssertTest("assert f()"),)),
    ]
    assert write_problems(tmp_path / "p.jsonl", problems) == 2
    assert read_problems(tmp_path / "p.jsonl") == problems
    assert [path.name for path in tmp_path.iterdir()] == ["p.jsonl"]


OWN = {"problem_id": "p", "prompt": "x", "tests": [{"stdin": "", "stdout": "1"}]}


@pytest.mark.parametrize(
    ("name", "record", "message"),
    [
        ("mbpp", MBPP | {"task_id": 1}, r"d\.jsonl:2: duplicate id 'mbpp/1', first seen at .*d\.jsonl:1"),
        ("jsonl", OWN | {"tests": [{"stdin": ""}]}, r"d\.jsonl:2: tests\[0\]: field 'stdout' is missing"),
        ("jsonl", OWN | {"tests": ["1"]}, r"d\.jsonl:2: tests\[0\] must be an object"),
        ("jsonl", OWN | {"difficulty": True}, r"d\.jsonl:2: field 'difficulty' must be int, found bool"),
        ("jsonl", OWN | {"solutions": [{"code": "x"}]}, r"d\.jsonl:2: solutions\[0\]: field 'is_correct' is missing"),
        ("jsonl", OWN | {"time_limit_s": 0}, r"d\.jsonl:2: the time limit must be .* seconds, at most 86400, not 0"),
        ("jsonl", OWN | {"time_limit_s": -0.5}, r"d\.jsonl:2: the time limit must be .* seconds, at most 86400, not -0\.5"),
        ("jsonl", OWN | {"time_limit_s": float("nan")}, r"d\.jsonl:2: the time limit must be .*, not nan"),
        ("jsonl", OWN | {"time_limit_s": float("inf")}, r"d\.jsonl:2: the time limit must be .*, not inf"),
        ("jsonl", OWN | {"time_limit_s": 10**400}, r"d\.jsonl:2: the time limit must be .*, not inf"),
        ("jsonl", OWN | {"time_limit_s": 1e6}, r"d\.jsonl:2: the time limit must be .* at most 86400, not 1000000\.0"),
        ("jsonl", OWN | {"memory_limit_bytes": 10**30}, r"d\.jsonl:2: the memory limit must be .* not 1000000000000"),
        ("jsonl", OWN | {"memory_limit_bytes": 0}, r"d\.jsonl:2: the memory limit must be .* bytes, at most .*, not 0"),
        ("jsonl", OWN | {"difficulty": 2**31}, r"d\.jsonl:2: the difficulty must be in \[0, 2147483647\], not 2147483648"),
        ("jsonl", OWN | {"problem_id": "\ud800"}, r"d\.jsonl:2: the id holds '\\ud800', half of a character"),
        ("jsonl", OWN | {"prompt": "a \udfff"}, r"d\.jsonl:2: the prompt holds '\\udfff', half of a character"),
        ("jsonl", OWN | {"tests": [{"stdin": "\ud83d", "stdout": ""}]}, r"d\.jsonl:2: tests\[0\] holds '\\ud83d'"),
        ("jsonl", OWN | {"solutions": [{"code": "# \ud83d", "is_correct": True}]}, r"d\.jsonl:2: solutions\[0\] holds"),
    ],
)
def test_a_bad_record_is_named(tmp_path, name, record, message):
    good = {"mbpp": MBPP | {"task_id": 1}, "jsonl": OWN | {"problem_id": "first"}}[name]
    with pytest.raises(DataError, match=message):
        list(load_problems(name, lines(tmp_path / "d.jsonl", good, record)))


def test_an_unknown_task_set_is_named():
    with pytest.raises(ConfigError, match="unknown task set 'riddles': known are apps, codecontests"):
        list(load_problems("riddles", "x"))


def test_code_to_start_with_and_a_checker_are_written_where_they_are(tmp_path):
    path = lines(
        tmp_path / "a.jsonl", OWN | {"starter": "class A:\n    "}, OWN | {"problem_id": "q", "own_checker": "print(1)"}
    )
    problems = list(load_problems("jsonl", path))
    assert [(one.starter, one.own_checker) for one in problems] == [("class A:\n    ", ""), ("", "print(1)")]
    write_problems(tmp_path / "p.jsonl", problems)
    assert read_problems(tmp_path / "p.jsonl") == problems


@pytest.mark.parametrize(
    ("name", "meant"),
    [("solutons", "solutions"), ("time_limit", "time_limit_s"), ("memory_limit", "memory_limit_bytes"), ("startr", "starter")],
)
def test_a_mistyped_field_is_not_taken_for_one_of_the_users_own(tmp_path, name, meant):
    with pytest.raises(DataError, match=rf"a\.jsonl:1: unknown field '{name}': did you mean {meant}\?$"):
        list(load_problems("jsonl", lines(tmp_path / "a.jsonl", {**OWN, name: 1})))
    own = {"tags": [], "source": "me", "url": "x", "rating": 3, "id": 7, "title": "t", "test": "", "prompts": ""}
    assert list(load_problems("jsonl", lines(tmp_path / "b.jsonl", OWN | own))) == [
        replace(one, file=str(tmp_path / "b.jsonl")) for one in load_problems("jsonl", lines(tmp_path / "c.jsonl", OWN))
    ]


def test_null_where_a_field_need_not_be_is_as_if_it_were_not_there_and_noted(tmp_path):
    empty = dict.fromkeys(("difficulty", "time_limit_s", "memory_limit_bytes", "solutions"))
    reading = Reading()
    (one,) = load_problems("jsonl", lines(tmp_path / "a.jsonl", OWN | empty), reading)
    (other,) = load_problems("jsonl", lines(tmp_path / "b.jsonl", OWN))
    assert one == other and one.difficulty is None
    assert reading.notes.unknown == {f"null_{name}": 1 for name in empty}


def test_unknown_difficulty_is_no_number_and_stays_unknown_when_written(tmp_path):
    levels = (None, 0, 3, -1)
    path = lines(tmp_path / "a.jsonl", *(OWN | {"problem_id": f"p{i}", "difficulty": n} for i, n in enumerate(levels)))
    problems = list(load_problems("jsonl", path))
    assert [problem.difficulty for problem in problems] == [None, 0, 3, None]
    write_problems(tmp_path / "p.jsonl", problems)
    assert read_problems(tmp_path / "p.jsonl") == problems


def test_solutions_that_hold_no_text_are_noted_and_the_others_stand_where_they_stood(tmp_path):
    codes = ("", "print(1)", " \n\t", "print(2)")
    given = [{"code": code, "is_correct": i != 2} for i, code in enumerate(codes)]
    reading = Reading()
    (problem,) = load_problems("jsonl", lines(tmp_path / "d.jsonl", OWN | {"solutions": given}), reading)
    places = [(solution.code, solution.place) for solution in problem.solutions]
    assert places == [("print(1)", "solutions[1]"), ("print(2)", "solutions[3]")]
    assert reading.notes.left_out == {"blank_solution": 2}


def test_tests_of_two_kinds_are_refused_with_file_and_row(tmp_path):
    tests = [{"code": "assert f(0) == 1"}, {"stdin": "1", "stdout": "2"}]
    path = lines(tmp_path / "d.jsonl", OWN, OWN | {"problem_id": "q", "tests": tests})
    with pytest.raises(DataError, match=r"d\.jsonl:2: a problem has tests on standard input or asserts, not both"):
        list(load_problems("jsonl", path))


def test_so_many_bad_rows_may_be_and_are_kept_with_file_and_row(tmp_path):
    rows = [OWN | {"problem_id": f"p{i}"} for i in range(20)]
    path = lines(tmp_path / "d.jsonl", *rows[:7], "{broken", OWN | {"prompt": None}, *rows[7:18], rows[3], *rows[18:])
    reading = Reading(max_bad_frac=3 / 23)
    assert [problem.problem_id for problem in load_problems("jsonl", path, reading)] == [f"p{i}" for i in range(20)]
    assert [row.partition(": ")[0] for row in reading.bad_rows] == [f"{path}:{number}" for number in (8, 9, 21)]
    assert "duplicate id 'p3'" in reading.bad_rows[2]
    with pytest.raises(DataError, match=r"d\.jsonl: 3 of 23 rows are no problems, more than 12\.00%; the first: .*:8: "):
        list(load_problems("jsonl", path, Reading(max_bad_frac=0.12)))
    with pytest.raises(DataError, match=r"d\.jsonl:8: not valid JSON"):
        list(load_problems("jsonl", path, Reading()))


def test_a_problem_without_tests_is_refused_where_it_is_to_be_scored(tmp_path):
    path = lines(tmp_path / "d.jsonl", OWN, OWN | {"problem_id": "q", "tests": []})
    assert len(list(load_problems("jsonl", path))) == 2
    with pytest.raises(DataError, match=r"d\.jsonl:2: q has no tests, and validation and test cannot do without"):
        list(load_problems("jsonl", path, Reading(needs_tests=True)))
