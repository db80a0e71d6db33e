"""Public schemas in small records, our own schema's round trip, and errors that name file, line and field."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wmtp import tasksets
from wmtp.errors import ConfigError, DataError
from wmtp.problems.files import read_problems, write_problems
from wmtp.tasksets import load_problems
from wmtp.types import AssertTest, IOTest, Problem, Solution

MBPP = {
    "task_id": 7,
    "text": "Write a function to add.",
    "code": "import math\r\ndef add(a, b): \r\n\treturn a + b",
    "test_list": ["assert add(1, 2) == 3", "assert add(W, 0) == 5"],
    "test_setup_code": "W = 5",
    "challenge_test_list": [],
}
CODECONTESTS = {
    "name": "1_A. Sum",
    "description": "Add two numbers.\n\nInput: two numbers.",
    "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
    "private_tests": {"input": ["5 5\n"], "output": ["10\n"]},
    "generated_tests": {"input": [], "output": []},
    "solutions": {"language": [2, 3, 1], "solution": ["int main(){}", "print(sum(map(int, input().split())))", "print 3"]},
    "incorrect_solutions": {"language": [3, 4], "solution": ["print(3)", "class A{}"]},
    "source": 2,
    "difficulty": 7,
    "cf_rating": 800,
    "cf_tags": ["math"],
    "time_limit": {"seconds": 1, "nanos": 500000000},
    "memory_limit_bytes": 256000000,
}


def lines(path, *records):
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return str(path)


def test_mbpp_statement_with_first_assert_set_up_before_every_test_and_unix_newlines(tmp_path):
    (problem,) = load_problems("mbpp", lines(tmp_path / "m.jsonl", MBPP))
    assert problem.problem_id == "mbpp/7"
    assert tasksets.get("mbpp").prompt(problem) == '"""\nWrite a function to add.\nassert add(1, 2) == 3\n"""\n'
    assert problem.tests == (AssertTest("W = 5\nassert add(1, 2) == 3"), AssertTest("W = 5\nassert add(W, 0) == 5"))
    assert problem.solutions == (Solution("import math\ndef add(a, b):\n\treturn a + b", True),)


def test_the_sanitized_mbpp_names_its_fields_otherwise(tmp_path):
    record = {k: v for k, v in MBPP.items() if k not in ("text", "test_setup_code")} | {
        "prompt": "Add.",
        "test_imports": ["import os"],
    }
    (problem,) = load_problems("mbpp", lines(tmp_path / "m.jsonl", record))
    assert problem.prompt.startswith("Add.\n") and problem.tests[0] == AssertTest("import os\nassert add(1, 2) == 3")


def test_humaneval_prompt_is_code_and_runs_with_the_completion(tmp_path):
    record = {
        "task_id": "HumanEval/0",
        "prompt": 'def one():\n    """ One. """\n',
        "entry_point": "one",
        "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
    }
    (problem,) = load_problems("humaneval", lines(tmp_path / "h.jsonl", record))
    assert tasksets.get("humaneval").prompt(problem) == record["prompt"]
    namespace = {}
    exec(tasksets.get("humaneval").program(problem, problem.solutions[0].code).source + "\n" + problem.tests[0].code, namespace)
    assert "check(one)" in problem.tests[0].code


def test_gsm8k_answer_is_the_number_after_the_mark(tmp_path):
    path = lines(tmp_path / "g.jsonl", {"question": "How many?", "answer": "600*2=<<600*2=1200>>1200\n#### 1,200"})
    (problem,) = load_problems("gsm8k", path)
    assert problem.tests == (IOTest("", "1200"),) and problem.prompt == "How many?"
    with pytest.raises(DataError, match=r"g\.jsonl:1: field 'answer' has no number after ####"):
        list(load_problems("gsm8k", lines(tmp_path / "g.jsonl", {"question": "How many?", "answer": "Two."})))


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
        ("mbpp", MBPP | {"test_list": []}, r"d\.jsonl:2: field 'test_list' is empty"),
        ("mbpp", MBPP | {"task_id": 1}, r"d\.jsonl:2: duplicate id 'mbpp/1', first seen at .*d\.jsonl:1"),
        ("jsonl", OWN | {"tests": [{"stdin": ""}]}, r"d\.jsonl:2: tests\[0\]: field 'stdout' is missing"),
        ("jsonl", OWN | {"tests": ["1"]}, r"d\.jsonl:2: tests\[0\] must be an object"),
        ("jsonl", OWN | {"difficulty": True}, r"d\.jsonl:2: field 'difficulty' must be int, found bool"),
        ("jsonl", OWN | {"solutions": [{"code": "x"}]}, r"d\.jsonl:2: solutions\[0\]: field 'is_correct' is missing"),
        (
            "codecontests",
            CODECONTESTS | {"name": "b", "public_tests": {"input": ["1"], "output": []}},
            r"d\.jsonl:2: field 'public_tests' has 1 input but 0 output",
        ),
    ],
)
def test_a_bad_record_is_named(tmp_path, name, record, message):
    good = {"mbpp": MBPP | {"task_id": 1}, "jsonl": OWN | {"problem_id": "first"}, "codecontests": CODECONTESTS}[name]
    with pytest.raises(DataError, match=message):
        list(load_problems(name, lines(tmp_path / "d.jsonl", good, record)))


def test_an_unknown_task_set_is_named():
    with pytest.raises(ConfigError, match="unknown task set 'apps': known are codecontests"):
        list(load_problems("apps", "x"))
