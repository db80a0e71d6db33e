"""Assert tests are judged as the field's harnesses judge them, except where those can be fooled.

The oracle is what those harnesses do: execute program and test in one namespace of a fresh interpreter.
"""

import subprocess
import sys

import pytest

from wmtp.sandbox.pool import run_tests
from wmtp.types import AssertTest, Limits, Program

LIMITS = Limits(time_limit_s=5.0)
HARNESS = "import sys\nspace = {}\nexec(sys.argv[1], space)\nexec(sys.argv[2], space)\n"

SAME = {
    # what stands behind a name
    "a builtin function": ("biggest = max", "assert biggest(1, 2) == 2 and biggest([3, 1]) == 3"),
    "a builtin function of another module": ("from math import gcd", "assert gcd(12, 18) == 6"),
    "a method": ("shout = str.upper", "assert shout('a') == 'A'"),
    "a partial": ("import functools, operator\nf = functools.partial(operator.add, 1)", "assert f(2) == 3"),
    "a cached function": ("import functools\n@functools.lru_cache(None)\ndef f(x): return x", "assert f(2) == 2"),
    "a class": (
        "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)",
        "s = Stack()\ns.push(3)\nassert s.items == [3]",
    ),
    "a constant": ("LIMIT = 7", "assert LIMIT == 7"),
    "a shadowed builtin": ("def abs(x): return -5", "assert abs(3) == 3"),
    "no main": ("def f(): return __name__\nif __name__ == '__main__': 1 / 0", "assert f() != '__main__'"),
    # truth
    "an empty view": ("def f(x): return {}.values()", "assert f(1)"),
    "an object that is false": ("class A:\n    def __bool__(self): return False\ndef f(x): return A()", "assert f(1)"),
    "an object that is true": ("class A: pass\ndef f(x): return A()", "assert f(1)"),
    # containers and values of the standard library
    "UserList": ("from collections import UserList\ndef f(): return UserList([1, 2])", "assert f() == [1, 2]"),
    "UserDict": ("from collections import UserDict\ndef f(): return UserDict(a=1)", "assert f() == {'a': 1}"),
    "ChainMap": (
        "from collections import ChainMap\ndef f(): return ChainMap({'a': 1}, {'b': 2})",
        "assert f() == {'a': 1, 'b': 2}",
    ),
    "array": ("import array\ndef f(): return array.array('i', [1, 2])", "import array\nassert f() == array.array('i', [1, 2])"),
    "a path": (
        "from pathlib import Path\ndef f(): return Path('a') / 'b'",
        "from pathlib import Path\nassert f() == Path('a/b')",
    ),
    "a slice": ("def f(): return slice(1, 2)", "assert f() == slice(1, 2) and [1, 2, 3][f()] == [2]"),
    "a time": ("import datetime\ndef f(): return datetime.time(1, 2)", "import datetime\nassert f() == datetime.time(1, 2)"),
    "a named tuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)",
        "assert f() == (1, 2) and f().y == 2",
    ),
    "a defaultdict's missing key": (
        "from collections import defaultdict\ndef f(): return defaultdict(int, a=1)",
        "assert f()['b'] == 0",
    ),
    "values in order": ("def f(): return {'a': 2, 'b': 1}.values()", "assert list(f()) == [2, 1]"),
    "a generator": ("def f():\n    yield 1\n    yield 2", "assert list(f()) == [1, 2]"),
    "an exception": (
        "def f(): raise KeyError('k')",
        "try:\n    f()\n    assert False\nexcept KeyError as e:\n    assert 'k' in str(e)",
    ),
    # identity
    "the argument itself": ("def f(x):\n    x.append(1)\n    return x", "a = [0]\nassert f(a) is a and a == [0, 1]"),
    "a copy": ("def f(x): return list(x)", "a = [0]\nassert f(a) is not a and f(a) == a"),
    "the same object twice": ("class A: pass\nONE = A()\ndef f(): return ONE", "assert f() == f()"),
    # operators of its own objects
    "order": (
        "class V:\n    def __init__(s, x): s.x = x\n    def __lt__(s, o): return s.x < o.x",
        "assert V(1) < V(2) and not V(2) < V(1)",
    ),
    "sorting": (
        "class V:\n    def __init__(s, x): s.x = x\n    def __lt__(s, o): return s.x < o.x",
        "assert [v.x for v in sorted([V(2), V(1)])] == [1, 2]",
    ),
    "arithmetic": (
        "class V:\n    def __init__(s, x): s.x = x\n    def __add__(s, o): return V(s.x + o.x)\n"
        "    def __abs__(s): return V(abs(s.x))",
        "assert (V(1) + V(2)).x == 3 and abs(V(-2)).x == 2",
    ),
    "membership": (
        "class V(set):\n    pass\nclass W:\n    def __contains__(s, o): return o is A\nA = V()",
        "assert not [] in [A] and len(A) == 0",
    ),
    # arguments
    "a generator as an argument": ("def f(xs): return sum(xs)", "assert f(x for x in range(4)) == 6"),
    "an enumeration's member": (
        "def f(c): return c.value + 1",
        "import enum\nclass C(enum.Enum):\n    A = 1\nassert f(C.A) == 2",
    ),
    "an object of the test's": ("def f(p): return p.x", "class P:\n    x = 4\nassert f(P()) == 4"),
    "a wrong answer for one": ("def f(p): return p.x + 1", "class P:\n    x = 4\nassert f(P()) == 4"),
    "a time as an argument": ("def f(t): return t.hour", "import datetime\nassert f(datetime.time(5)) == 5"),
    "a function with keywords": ("def f(g): return g(1, y=2)", "assert f(lambda x, y: x + y) == 3"),
    "a builtin function as an argument": ("def f(g): return g([1, 2])", "assert f(len) == 2 and f(sum) == 3"),
    "its own object as an argument": ("class N:\n    def __init__(s, v): s.v = v\ndef f(n): return n.v", "assert f(N(3)) == 3"),
    # wrong ones
    "a wrong value": ("def f(): return 3", "assert f() == 4"),
    "no function": ("def g(): return 3", "assert f() == 4"),
    "an error at the end": ("def f(): return 4\n1 / 0", "assert f() == 4"),
    "an exit before the end": ("def f(): return 4\nexit()", "assert f() == 4"),
}  # fmt: skip


@pytest.mark.parametrize("what", SAME)
def test_as_the_field_judges(what):
    source, test = SAME[what]
    done = subprocess.run([sys.executable, "-c", HARNESS, source, test], capture_output=True, check=False)
    passes = done.returncode == 0 and "exit" not in source
    (verdict,) = run_tests([Program(source, (AssertTest(test),))], limits=LIMITS, num_workers=1)
    assert verdict.passed == passes, (verdict, done.stderr)
    assert verdict.status != "suspicious"


def test_what_cannot_be_carried_over_is_counted_and_shown():
    tests = (AssertTest("assert f(iter([1])) == 1"),)
    right, wrong = run_tests([Program(f"def f(x): return {n}", tests) for n in (1, 2)], limits=LIMITS, num_workers=1)
    assert (right.status, right.passed, right.num_passed) == ("unverified", True, 1) and "list_iterator" in right.detail
    assert (wrong.status, wrong.passed, wrong.num_passed) == ("wrong_answer", False, 0)


FOOLING = {
    "equal to everything": ("class E:\n    def __eq__(s, o): return True\ndef f(x): return E()", "assert f(2) == 4"),
    "less than everything": (
        "class E:\n    def __sub__(s, o): return s\n    __rsub__ = __sub__\n    def __abs__(s): return s\n"
        "    def __lt__(s, o): return True\n"
        "def f(x): return E()",
        "assert abs(f(2) - 4) < 1e-6",
    ),
    "reading the test in a frame": (
        "import sys\ndef f(x):\n    frame = sys._getframe(1)\n"
        "    return next((c for c in frame.f_code.co_consts if c == 4), 0)",
        "assert f(2) == 4",
    ),
    "an int that equals": (
        "class E(int):\n    def __eq__(s, o): return True\n    __hash__ = None\ndef f(x): return E()",
        "assert f(2) == 4",
    ),
    "a claim on the channel": (
        "import os, json, struct\nd = json.dumps({'done': True}).encode()\nos.write(3, struct.pack('>I', len(d)) + d)\n"
        "def f(x): return 0",
        "assert f(2) == 4",
    ),
    "the argument as the answer": ("def f(x):\n    x.clear()\n    x.append(5)\n    return x", "assert f([2]) == [4]"),
    "an assertion that is none": (
        "import builtins\nclass A(Exception): pass\nbuiltins.AssertionError = A\n"
        "def f(x):\n    import sys, os\n    os._exit(0)",
        "assert f(2) == 4",
    ),
    "another test in its place": (
        "import builtins\nbuiltins.compile = lambda *a, **k: 'pass'\ndef f(x): return 0",
        "assert f(2) == 4",
    ),
    "a callback that cannot answer": ("def f(g):\n    g([1])\n    return 0", "assert f(lambda x: iter(x)) == 4"),
    "a long look at everything": (
        "import gc\nclass E:\n    def __eq__(s, o): return True\ndef f(x):\n    for o in gc.get_objects():\n"
        "        if isinstance(o, dict) and 'f' in o: o['check'] = lambda c: None\n    return E()",
        "def check(c):\n    assert c(2) == 4\ncheck(f)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FOOLING)
def test_what_passes_in_its_own_process_only_is_no_pass(what):
    source, test = FOOLING[what]
    (verdict,) = run_tests([Program(source, (AssertTest(test),))], limits=LIMITS, num_workers=1)
    assert not verdict.passed and verdict.num_passed == 0, verdict


RUNS = {
    "a plain value": ("def f(x): return [x, {'a': (1.5, None)}]", "assert f(2) == [2, {'a': (1.5, None)}]", 1),
    "a set": ("def f(x): return {x}", "assert f(2) == {2}", 1),
    "a set whose order is asked for": ("def f(x): return {x}", "assert list(f(2)) == [2]", 2),
    "a builtin": ("def f(x): return x", "assert len(f([1])) == 1", 1),
    "a builtin that the program has": ("def len(x): return 1\ndef f(x): return x", "assert len(f([1])) == 1", 2),
    "a builtin that it has later": (
        "def f(x):\n    global len\n    len = lambda x: 1\n    return x",
        "assert f([1]) == [1]\nassert len(f([1])) == 1",
        2,
    ),
    "an object": ("class A:\n    def __len__(s): return 1\ndef f(x): return A()", "assert len(f(2)) == 1", 2),
    "a subclass of a plain type": ("class A(int): pass\ndef f(x): return A(x)", "assert f(2) == 2", 2),
    "another container": ("import collections\ndef f(x): return collections.Counter(x)", "assert f('a') == {'a': 1}", 2),
    "a test with more than values": ("def f(x): return x", "a = [1]\nassert f(a) == a", 2),
}  # fmt: skip


@pytest.mark.parametrize("what", RUNS)
def test_a_program_runs_a_second_time_where_that_could_differ(what):
    source, test, runs = RUNS[what]
    fails_natively = "import sys\nassert sys._getframe().f_back.f_code.co_name != '_run_natively'\n"
    programs = [Program(text, (AssertTest(test),)) for text in (source, fails_natively + source)]
    passes, passes_once = run_tests(programs, limits=LIMITS, num_workers=1)
    assert passes.status == "passed" and passes_once.passed == (runs == 1)


def test_a_cheat_that_the_field_falls_for_is_called_suspicious():
    source, test = FOOLING["equal to everything"]
    (verdict,) = run_tests([Program(source, (AssertTest(test),))], limits=LIMITS, num_workers=1)
    assert verdict.status == "suspicious" and "AssertionError" in verdict.detail


HELPERS = "def double(x):\n    return 2 * x\n"


def test_helpers_of_the_prompt_are_the_judges():
    tests = (AssertTest("def check(c):\n    for x in (1, 5):\n        assert c(double(x)) == x\ncheck(half)"),)
    right = HELPERS + "def half(x):\n    return x // 2"
    cheat = HELPERS + "def half(x):\n    return x\ndouble = lambda x: x"
    without = "def half(x):\n    return x // 2"
    programs = [Program(source, tests, helpers=HELPERS) for source in (right, cheat, without)]
    assert [v.passed for v in run_tests(programs, limits=LIMITS, num_workers=1)] == [True, False, True]


def test_a_module_that_the_test_leans_on_is_pythons_and_the_program_must_have_it():
    tests = (AssertTest("assert math.isclose(f(), 5)"),)
    right = "import math\ndef f(): return 5"
    cheat = "class math:\n    isclose = staticmethod(lambda *numbers: True)\ndef f(): return 0"
    programs = [Program(source, tests, imports="import math\n") for source in (right, cheat, "def f(): return 5")]
    verdicts = run_tests(programs, limits=LIMITS, num_workers=1)
    assert [verdict.status for verdict in verdicts] == ["passed", "suspicious", "runtime_error"]


def test_tests_share_a_namespace_as_they_do_when_joined():
    tests = tuple(map(AssertTest, ("import math\nseen = f(1)", "assert math.floor(seen + 0.5) == 1", "assert f(seen) == 1")))
    counting = "n = 0\ndef f(x):\n    global n\n    n += 1\n    return x if n < 3 else 1"
    (verdict,) = run_tests([Program(counting, tests)], limits=LIMITS, num_workers=1)
    assert verdict.status == "passed" and verdict.num_passed == 3
