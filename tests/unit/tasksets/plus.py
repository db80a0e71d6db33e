"""Records of HumanEval+ and MBPP+ as EvalPlus publishes them, and what programs make of them in the sandbox."""

import pyarrow as pa
import pyarrow.parquet as pq

from tests.unit.tasksets.records import lines
from wmtp import tasksets
from wmtp.sandbox.pool import run_tests
from wmtp.tasksets import load_problems
from wmtp.types import Limits

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'def half(x):\n    """ Half of x. """\n',
    "entry_point": "half",
    "canonical_solution": "    return x / 2\n",
    "contract": "    assert x > 0\n",
    "base_input": [[4], [2]],
    "plus_input": [[1], [0], [-3]],
    "atol": 0,
}
MBPP = {
    "task_id": "Mbpp/2",
    "prompt": '"""\nWrite a function to find common elements.\nassert set(similar_elements((3, 4), (4, 5))) == {4}\n"""\n',
    "entry_point": "similar_elements",
    "canonical_solution": "\ndef similar_elements(a, b):\n    return tuple(set(a) & set(b))\n",
    "contract": "",
    "assertion": "",
    "base_input": [[[3, 4], [4, 5]]],
    "plus_input": [[[1, 2, 3], [3, 2]], [[], []]],
    "atol": 0,
}
CHECK = """\
def check(candidate):
    inputs = [[4], [1]]
    results = [2.0, 0.5]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assert candidate(*inp) == exp
"""
HUMANEVAL_ROW = {key: HUMANEVAL[key] for key in ("task_id", "prompt", "canonical_solution", "entry_point")} | {"test": CHECK}
MBPP_ROW = {
    "task_id": 2,
    "code": "def double(x):\n    return 2 * x",
    "prompt": "Write a function that doubles.",
    "source_file": "a.ipynb",
    "test_imports": ["import math"],
    "test_list": ["assert double(2) == 4", "assert double(math.floor(1.5)) == 2"],
    "test": "inputs, results = [[3], ['a']], [6, 'aa']\nfor inp, exp in zip(inputs, results):\n    assert double(*inp) == exp",
}


def read(name, path, record):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([record]), path)
    else:
        lines(path, record)
    (problem,) = load_problems(name, str(path))
    return problem


def verdicts(name, problem, *completions):
    programs = [tasksets.get(name).program(problem, completion) for completion in completions]
    return [(v.status, v.num_passed) for v in run_tests(programs, limits=Limits(), num_workers=2)]
