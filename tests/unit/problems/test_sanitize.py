"""The code in an answer, as EvalPlus' sanitizer takes it out; every expectation is written by hand."""

import pytest

from wmtp.problems.sanitize import longest_code, names_in, sanitize

ANSWER = """Sure, here is how it is done:
```python
import math
from os import path

LIMIT = 3

def unused(x):
    return x

def area(r):
    return scale(r) * LIMIT

def scale(r):
    return math.pi * r

class Shape:
    pass

print(area(2))
```
It runs in constant time.
"""


def test_definitions_that_the_tests_need_and_imports_out_of_fences_and_prose():
    code = sanitize(ANSWER, {"area"})
    assert code == (
        "import math\nfrom os import path\nLIMIT = 3\ndef area(r):\n    return scale(r) * LIMIT\n"
        "def scale(r):\n    return math.pi * r"
    )
    namespace = {}
    exec(code, namespace)
    assert namespace["area"](1) > 9
    assert (
        "class Shape" in sanitize(ANSWER, ()) and "def unused" in sanitize(ANSWER, ()) and "print" not in sanitize(ANSWER, ())
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("some words\nx = 1\ny = 2\nmore words", "x = 1\ny = 2"),
        ("a = 1\nb = 2\n???\nc = 3\nd = 4", "a = 1\nb = 2"),
        ("a = 1\nb = 2\n???\nc = 3\n\nd = 4\ne = 5\nThat was it", "c = 3\n\nd = 4\ne = 5"),
        ("    x = 1\n    y = 2\nz = 3", "    x = 1"),
        ("z = 3\n    x = 1\nno code", "z = 3"),
        ("\x1b[1mx = 1\x1b[0m\ny = 2", "x = 1\ny = 2"),
        ("x = (1,\n2)\nThat's it", "x = (1,\n2)"),
        ('"""\nfree text\n"""\nx = 1\n```', '"""\nfree text\n"""\nx = 1'),
        ("only words", "only words"),
        ("", ""),
    ],
)
def test_the_longest_code_is_the_most_lines_in_a_row_that_are_python(text, code):
    assert longest_code(text) == code


def test_what_evalplus_loses_is_lost_here_too():
    text = (
        "from __future__ import annotations\n@cache\ndef kept(x):\n    return x\ndef quiet(x):\n    x.sort()\n"
        "a, b = 1, 2\nif a:\n    c = 3\ndef f(x):\n    return x\ndef f(x):\n    return 2\nasync def g():\n    return f(1)\n"
        "f.y = a\n"
    )
    assert sanitize(text, {"f", "g", "kept", "quiet", "a", "c"}) == (
        "def f(x):\n    return x\nasync def g():\n    return f(1)\nf.y = a"
    )


def test_where_nothing_would_be_left_the_code_stays():
    assert sanitize("def main():\n    print(1)\nmain()\nbye now", {"main"}) == "def main():\n    print(1)\nmain()"


def test_names_are_of_every_kind():
    assert names_in("import a.b as c\ndef d(e, *f): g.h(i=j)\nk: l = m") == set("abcdefghijklm")
    assert names_in("no python") == frozenset()


def test_hostile_texts_end_soon():
    for text in (
        "x = 1\n" * 1500 + "no code",
        "It is so.\n" * 1500,
        "x = (\n" * 1500,
        "if x:\n" * 1500,
        "\0\n" * 9,
        "\ud800 = 1\ny",
    ):
        longest_code(text)
