"""Records of APPS, TACO, CodeContests+, LiveCodeBench and codeforces in their columns, and what programs make of them."""

import base64
import json
import pickle
import zlib

import pyarrow as pa
import pyarrow.parquet as pq

from tests.unit.tasksets.records import lines
from wmtp import tasksets
from wmtp.problems.files import Reading
from wmtp.sandbox.pool import run_tests
from wmtp.types import Limits

APPS = {
    "problem_id": 7,
    "question": "Add two numbers.\r\n",
    "solutions": json.dumps(["print(sum(map(int, input().split())))\r\n", "a, b = map(int, input().split())\nprint(a + b)"]),
    "input_output": json.dumps({"inputs": ["1 2\n", ["3 4", ""]], "outputs": ["3\n", ["7"]]}),
    "difficulty": "interview",
    "url": "",
    "starter_code": "",
}
CALLED = APPS | {
    "problem_id": 8,
    "question": "Pair up.",
    "solutions": json.dumps(["class Solution:\n    def pair(self, a, b):\n        return (a, b)"]),
    "input_output": json.dumps({"fn_name": "pair", "inputs": [[1, 2], ["a", [3]]], "outputs": [[[1, 2]], [["a", [3]]]]}),
    "starter_code": "class Solution:\n    def pair(self, a, b):\n",
}
TACO = {
    "question": "Add two numbers.",
    "starter_code": "",
    "input_output": APPS["input_output"],
    "difficulty": "MEDIUM_HARD",
    "raw_tags": "[]",
    "name": None,
    "source": "codeforces",
    "tags": "[]",
    "skill_types": "[]",
    "url": None,
    "Expected Auxiliary Space": None,
    "time_limit": "2.5 seconds",
    "date": None,
    "picture_num": None,
    "memory_limit": "128.0 megabytes",
    "Expected Time Complexity": None,
    "solutions": APPS["solutions"],
}
CODECONTESTS_PLUS = {
    "source": "Codeforces",
    "id": "1_A",
    "title": "1_A. Sum",
    "description": "Add two numbers.",
    "time_limit": 1500,
    "memory_limit": 64,
    "validator": "",
    "checker": "",
    "correct_submissions": [{"code": "int main(){}", "language": "cpp"}, {"code": "print(3)\r\n", "language": "py3"}],
    "incorrect_submissions": [{"code": "print(4)", "language": "py3"}, {"code": "print 4", "language": "py2"}],
    "test_cases": [{"input": "1 2\n", "output": "3\n"}],
}
CODEFORCES = {
    "id": "1/A",
    "title": "Divisor",
    "description": "Print a divisor of n other than 1.",
    "input_format": "One number n.",
    "output_format": "A divisor.",
    "interaction_format": None,
    "note": None,
    "examples": [{"input": "6\n", "output": "2\n"}],
    "rating": 800,
    "time_limit": 1.0,
    "memory_limit": 64.0,
    "input_mode": "stdio",
    "official_tests": [{"input": "6\n", "output": "2\n"}, {"input": "35\n", "output": "5\n"}],
    "official_tests_complete": True,
    "generated_checker": (
        "import sys\n"
        "def number(path):\n"
        "    with open(path) as file:\n"
        "        return int(file.read().split()[0])\n"
        "def main():\n"
        "    given, expected, printed = map(number, sys.argv[1:])\n"
        "    assert given % expected == 0\n"
        "    print(1 if printed > 1 and given % printed == 0 else 0)\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    ),
}


def packed(cases):
    """As LiveCodeBench packs its private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


LIVECODEBENCH = {
    "question_title": "Sum",
    "question_content": "Add two numbers.\n",
    "platform": "atcoder",
    "question_id": "abc1_a",
    "contest_id": "abc1",
    "contest_date": "2024-01-01T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
    "private_test_cases": packed([{"input": "5 6", "output": "11", "testtype": "stdin"}]),
    "metadata": "{}",
}
METHOD = LIVECODEBENCH | {
    "platform": "leetcode",
    "question_id": "1",
    "starter_code": "class Solution:\n    def count(self, xs: List[int], x: int) -> int:\n        ",
    "public_test_cases": json.dumps([{"input": "[1, 2, 1]\n1", "output": "2", "testtype": "functional"}]),
    "private_test_cases": packed([{"input": "[]\n7", "output": "0", "testtype": "functional"}]),
    "metadata": json.dumps({"func_name": "count"}),
}


def read(name, path, *records, reading=None):
    """The problems of a file in the format of its ending."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(records)), path)
    else:
        lines(path, *records)
    return list(tasksets.load_problems(name, str(path), reading or Reading()))


def verdicts(name, problem, *completions):
    programs = [tasksets.get(name).program(problem, completion) for completion in completions]
    return [verdict.status for verdict in run_tests(programs, limits=Limits(), num_workers=2)]
