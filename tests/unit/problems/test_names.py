"""Names of a reference, and what of a prompt and of a reference is not for a program to decide."""

import pytest

from wmtp.problems.names import defined_names, given_functions, needed_imports


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import os.path as p, re\nfrom math import pi as tau\nX, *Y = 1, 2\ndef f(a):\n    b = a\nclass C:\n    d = 1",
         ("C", "X", "Y", "f", "p", "re", "tau")),
        ("def f():\n    global n, m\n    n = 1\n    return m", ("f", "n")),
        ("if (k := 3): pass\nfor i in []: pass\nwith f() as g: pass", ("g", "i", "k")),
        ("", ()),
        ("from math import *", None),
        ("exec('x = 1')", None),
        ("def f():\n    globals()['x'] = 1", None),
        ("def f(:", None),
    ],
)  # fmt: skip
def test_names_that_a_module_binds(source, names):
    assert defined_names(source) == names


PROMPT = (
    "from __future__ import annotations\nimport math\nimport re\nfrom typing import List\n\n"
    "STEP, MEMORY = 5, {}\nBASE = -2 * 13\n\n"
    "def shifted(x: int) -> int:\n    return math.floor(x) + moved(BASE)\n\n"
    "def moved(x):\n    # by a step\n    return x\n\n"
    "class Box:\n    pass\n\n"
    "def unshifted(x: List[int]):\n"
)


def test_functions_of_the_prompt_that_tests_call_come_with_what_they_use():
    given = given_functions(PROMPT, ("def check(c):\n    assert c(shifted(3)) == 3\n    Box()\ncheck(unshifted)",))
    space = {}
    exec(given, space)
    assert space["shifted"](3) == -23
    assert space.keys() - {"__builtins__", "annotations"} == {"math", "BASE", "shifted", "moved"}
    assert "    # by a step\n" in given and given.startswith("from __future__")


@pytest.mark.parametrize(
    ("prompt", "test"),
    [
        (PROMPT, "check(unshifted)"),
        (PROMPT, "assert unshifted(MEMORY, Box())"),
        (PROMPT, "assert ("),
        ("Add two numbers.", "assert add(1, 2) == 3"),
        ("", "assert f()"),
        ("def f(x):\n    return x\n", "assert f(1) == 1"),
    ],
)
def test_nothing_is_given_where_tests_call_none_of_them(prompt, test):
    assert given_functions(prompt, (test,)) == ""


def test_a_prompt_that_ends_within_a_block_is_understood():
    prompt = "def g(x):\n    return x\n\ndef f(xs):\n    for x in xs:\n"
    assert given_functions(prompt, ("assert f(g(1))",)) == "def g(x):\n    return x\n"
    decorated = "import functools\n@functools.cache\ndef g(x):\n    return x\n\ndef f(x):\n"
    assert given_functions(decorated, ("f(g(1))",)) == decorated.partition("\n\n")[0] + "\n"


def test_imports_of_the_reference_that_tests_rely_on():
    reference = "import math, os\nfrom statistics import mean as average\nimport re\ndef f(x): return re.sub('a', '', x)"
    assert needed_imports(reference, ("assert math.isclose(f(1), average([1]))",)) == (
        "import math, os\nfrom statistics import mean as average\n"
    )
    assert needed_imports(reference, ("import math\nassert math.isclose(f(1), 1)",)) == ""
    assert needed_imports("def f(", ("assert math",)) == needed_imports("", ("assert f",)) == ""
