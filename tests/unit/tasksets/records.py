"""One record of each public schema, and files of records."""

import json

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
HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'def one():\n    """ One. """\n',
    "entry_point": "one",
    "canonical_solution": "    return 1\n",
    "test": "def check(candidate):\n    assert candidate() == 1\n",
}


def lines(path, *records):
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return str(path)
