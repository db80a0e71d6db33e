"""Calls of functions and methods, run by hand."""

import pytest

from wmtp.errors import DataError
from wmtp.problems.published.calls import EQUAL, call_test

PAIR = call_test("pair", [1, 0], [1, [2]], EQUAL, "here", "_args[1] = [2]\n").code


class Solution:
    def pair(self, a, b):
        return a, b


@pytest.mark.parametrize(
    "space",
    [
        {"Solution": Solution},
        {"pair": lambda a, b: [a, b]},
        {"Solution": Solution, "pair": None},
    ],
)
def test_right_answers(space):
    exec(PAIR, space)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"pair": lambda a, b: [b, a]}, "returns"),
        ({"pair": lambda a, b: None}, "returns None"),
        ({"pair": lambda a, b: [1, (2,)]}, "returns"),
        ({"other": print}, "the program defines neither pair nor Solution"),
    ],
)
def test_wrong_answers(space, message):
    with pytest.raises(AssertionError, match=message):
        exec(PAIR, space)


@pytest.mark.parametrize("name", ["sorted", "a.b", "", "print"])
def test_a_name_that_a_program_cannot_define_for_itself_is_refused(name):
    with pytest.raises(DataError, match=r"^here: .* is no name of a function"):
        call_test(name, [], 0, EQUAL, "here")
