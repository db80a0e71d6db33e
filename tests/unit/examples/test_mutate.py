"""Mutants: one small edit, everything else as it was."""

import ast
import random

import pytest

from wmtp.examples.mutate import KINDS, mutants

CASES = {
    "operator": ("c = a + b\n", "c = a - b\n"),
    "comparison": ("b = [x for x in a if x > 3]", "b = [x for x in a if x >= 3]"),
    "constant": ("print(f(x, 7))", "print(f(x, 8))"),
    "off_by_one": ("for i in range(n): print(i)", "for i in range(n - 1): print(i)"),
    "branch": ("if ok:\n    print(1)\n", "if not (ok):\n    print(1)\n"),
    "call": ("print(max(a, default=0))", "print(min(a, default=0))"),
    "variable": ("a = f()\nb = g(a)\nprint(b)", "a = f()\nb = g(a)\nprint(a)"),
    "swap": ("a = f()\nb = sorted(a)\nc = [x * 2 for x in b]", "a = f()\nb = [x * 2 for x in a]\nc = sorted(b)"),
}


def made(source, seed=0):
    return list(mutants(source, random.Random(seed)))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_mistake_is_made(kind):
    source, expected = CASES[kind]
    assert (expected, kind) in {(mutant.code, mutant.kind) for mutant in made(source)}


def test_layout_comments_tabs_and_other_alphabets_stay():
    source = "def f( a,b ):\n\t# naïve: λ + λ\n\ts = 'é' ;  return a  +  b   # not a - b\n"
    codes = {mutant.code for mutant in made(source)}
    assert source.replace("a  +  b ", "a  -  b ") in codes
    assert all("# naïve: λ + λ" in code and "   # not a - b\n" in code for code in codes)


def test_operators_are_found_between_parentheses_and_across_lines():
    source = "x = ((a) %\n     (b)) // c\n"
    codes = {mutant.code for mutant in made(source)}
    assert {"x = ((a) //\n     (b)) // c\n", "x = ((a) %\n     (b)) % c\n"} <= codes


def test_all_differ_parse_and_depend_on_the_seed_alone():
    source = "a = list(map(int, input().split()))\nb = [x for x in a if x % 2 == 0]\nc = [x + 3 for x in b]\nprint(sum(c))"
    found = made(source)
    assert len({mutant.code for mutant in found} | {source}) == len(found) + 1
    assert {mutant.kind for mutant in found} == {"operator", "comparison", "constant", "call", "variable", "swap"}
    for mutant in found:
        ast.parse(mutant.code)
    assert made(source) == found and made(source, seed=1) != found


def test_reading_the_input_docstrings_and_list_growth_are_left_alone():
    source = '"""Sum + 1."""\na = list(map(int, input().split()))\nb = []\nfor x in a:\n    b.append(x)\n'
    for mutant in made(source):
        assert (
            mutant.code.startswith('"""Sum + 1."""')
            and "map(int, input().split())" in mutant.code
            and "b.append(" in mutant.code
        )


def test_code_that_does_not_parse_has_none():
    assert made("def f(:\n") == [] and made("x = '\0'") == []
