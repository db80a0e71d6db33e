"""Which tests are so plain that a program's own process adds nothing to what is seen from outside."""

import pytest
from sandbox_plain import plain_builtins

PLAIN = {
    "assert add(1, -2) == 3": set(),
    "assert not add([1, (2, {'a': None})], b=2 * 3 + 1), 'no ' + str(add(1))": set(),
    "assert add(1) is None and add(2) != {1, 2} or (-add(3) < 4)": set(),
    "assert 3 in add(1)": set(),
    "assert sorted(set(add(1))) == list(range(3))": {"sorted", "set", "list", "range"},
    "assert abs(add(1.5) - 2) < 1e-6": {"abs"},
    "W = 5\nassert add(1)\n'text'\npass": set(),
    "M = {'author': 'x'}\ndef check(candidate):\n    assert candidate(1) == 1\n    assert True, 'easy'\ncheck(add)": set(),
}


@pytest.mark.parametrize("source", PLAIN)
def test_asserts_of_one_answer_and_literals_are_plain(source):
    assert plain_builtins(source) == PLAIN[source]


@pytest.mark.parametrize(
    "source",
    [
        # what is shared with the program
        "assert add(1) == add(2)",
        "assert [add(1), add(2)] == [1, 2]",
        "assert add(other(1)) == 1",
        "a = [1]\nassert add(a) == 1",
        "x = add(1)\nassert x == 1",
        "assert add([[0]] * 3) == 1",
        "assert add({1, 2}) == 1",
        "assert add(int) == 1",
        "assert add(lambda: 1) == 1",
        # what is more than a value
        "assert add(1) is 3",
        "assert add(1) is 1.0",
        "assert add(1).x == 1",
        "assert add(1)[0] == 1",
        "assert type(add(1)) == 3",
        "assert hash(add(1)) == 3",
        "assert sorted(add(1), key=len) == 3",
        "assert sorted([1, 2], reverse=True) == 3",
        "assert add.x == 1",
        "assert 1 < add(1) < 3",
        "assert f'{add(1)}' == ''",
        "assert add(*[1]) == 1",
        "assert add(**{'a': [add]}) == 1",
        # other statements
        "import math\nassert add(1) == 1",
        "for i in range(3):\n    assert add(i) == i",
        "try:\n    add(1)\nexcept ValueError:\n    pass",
        "add(1)",
        "check(add)",
        "len = 3\nassert add(1) == 1",
        "def check(len):\n    assert len(1) == 1\ncheck(add)",
        "def check(c, d=1):\n    assert c(1) == 1\ncheck(add)",
        "def check(c):\n    def inner(d):\n        pass\ncheck(add)",
        "@wrapped\ndef check(c):\n    assert c(1) == 1\ncheck(add)",
        "assert (",
    ],
)
def test_all_else_is_not(source):
    assert plain_builtins(source) is None
