"""Our own schema's round trip, and errors that name file, line and field."""

import pytest

from tests.unit.tasksets.records import MBPP, lines
from wmtp.errors import ConfigError, DataError
from wmtp.problems.files import read_problems, write_problems
from wmtp.tasksets import load_problems
from wmtp.types import AssertTest, IOTest, Problem, Solution


def test_our_own_schema_round_trips(tmp_path):
    problems = [
        Problem("p1", "Add λ.", (IOTest("1\n", "1\n"),), 2, 1.5, 2**28, (Solution("print(1)", True), Solution("", False))),
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
    ],
)
def test_a_bad_record_is_named(tmp_path, name, record, message):
    good = {"mbpp": MBPP | {"task_id": 1}, "jsonl": OWN | {"problem_id": "first"}}[name]
    with pytest.raises(DataError, match=message):
        list(load_problems(name, lines(tmp_path / "d.jsonl", good, record)))


def test_an_unknown_task_set_is_named():
    with pytest.raises(ConfigError, match="unknown task set 'apps': known are codecontests"):
        list(load_problems("apps", "x"))
