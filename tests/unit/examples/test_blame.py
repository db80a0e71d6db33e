"""What failures say of an algorithm: real programs in the real sandbox."""

import numpy as np
import pytest

from wmtp.examples.blame import not_the_algorithm
from wmtp.sandbox.pool import run_tests
from wmtp.types import AssertTest, IOTest, Limits, Program, Verdict

TEST = IOTest("3\n", "9\n")
PROGRAMS = {
    "import no_such_library\nprint(9)": "missing_module",
    "from math import no_such_function\nprint(9)": "missing_module",
    "print 9": "other_python",
    "n = int(raw_input())\nprint(n * n)": "other_python",
    "print(sum(3 for i in xrange(int(input()))))": "other_python",
    "counts = {3: 9}\nfor key, value in counts.iteritems():\n    print(value)": "other_python",
    "import sys\nprint >> sys.stdout, 9": "other_python",
    "from time import sleep\nimport time\ntime.clock()\nprint(9)": "other_python",
    "numbers = map(int, input().split())\nprint(numbers[0] ** 2)": "other_python",
    "counts = range(4)\ncounts[3] = 9\nprint(counts[3])": "other_python",
    "keys = {9: 3}.keys()\nkeys.sort()\nprint(keys[0])": "other_python",
    "print(len(filter(None, [3] * 9)))": "other_python",
    "print(sorted([9, 3], key=int)[1], [].sort(cmp=None))": "other_python",
    "lines = iter([9])\nprint(lines.next())": "other_python",
    "print(len(str(10 ** int('9' * 5))) - 99990)": "other_python",
    "print(int('9' * 5000) % 10)": "other_python",
    "import random\nprint(random.sample({9}, 1)[0])": "other_python",
    f"print(int(input()) ** 2)  # {'x' * 2**20}": "sandbox_limit",
    "import ctypes\nctypes.string_at(0)": "sandbox_limit",
    "import urllib.request\nprint(urllib.request.urlopen('http://localhost:9').status)": "sandbox_limit",
    "print(int(open('input.txt').read()) ** 2)": "file_access",
    "open('/usr/answer.txt', 'w').write('9')": "file_access",
    "print(int(input()) * 2)": "",
    "print([1, 2][int(input())])": "",
    "print(undefined_name)": "",
    "class Box:\n    pass\nprint(Box().size)": "",
    "node = None\nprint(node.next)": "",
    "class Node:\n    pass\nprint(Node().next)": "",
    "print([9][int(input()) / 3 - 1])": "",
    "def f(x):\n    return f(x + 1)\nprint(f(0))": "",
    "raise SystemExit(1)": "",
    "while True:\n    pass": "",
    "x = bytearray(1 << 30)\nprint(9)": "",
    "print(int(input()) ** 2)": "",
}


@pytest.fixture(scope="module")
def verdicts():
    programs = [Program(source, (TEST,)) for source in PROGRAMS]
    limits = Limits(time_limit_s=1.0, memory_limit_bytes=256 * 2**20)
    return dict(zip(PROGRAMS, run_tests(programs, limits=limits, num_workers=2), strict=True))


@pytest.mark.parametrize("source", PROGRAMS)
def test_only_failures_of_the_algorithm_speak_of_the_label(verdicts, source):
    verdict = verdicts[source]
    assert not_the_algorithm(verdict) == PROGRAMS[source], verdict
    assert verdict.passed == (source == "print(int(input()) ** 2)")


@pytest.mark.parametrize("name", ["int", "float_", "asscalar"])
def test_a_name_that_another_numpy_has_says_nothing(name):
    with pytest.raises(AttributeError) as caught:
        getattr(np, name)
    assert not_the_algorithm(Verdict("runtime_error", 1, 0, detail=f"AttributeError: {caught.value}")) == "missing_module"


def test_a_failing_assert_is_the_algorithms_and_a_disagreement_of_the_two_runs_is_not():
    (verdict,) = run_tests(
        [Program("def f(x):\n    return x", (AssertTest("assert f(1) == 2"),))], limits=Limits(), num_workers=1
    )
    assert verdict.status == "wrong_answer" and not_the_algorithm(verdict) == ""
    assert not_the_algorithm(Verdict("suspicious", 1, 0)) == "suspicious"
