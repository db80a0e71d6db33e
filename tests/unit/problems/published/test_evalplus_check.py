"""The comparison is EvalPlus': numbers as numpy's allclose has them, a few tasks by rules of their own."""

import json
import math
import traceback

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmtp.problems.published.evalplus_check import agrees, all_close, check, digit_distance, is_floats, pyramid

NUMBERS = st.one_of(
    st.floats(-1e3, 1e3),
    st.sampled_from([0, 1, True, 1e-6, 1 + 1e-7, 1 + 2e-6, 3, math.inf, -math.inf, math.nan]),
    st.complex_numbers(max_magnitude=10),
)


def test_for(**changes):
    """A test of `f(x)` against twice its argument."""
    about = {"reference": "def f(x):\n    return 2 * x", "entry_point": "f", "dataset": "mbpp", "arguments": "inp", "atol": 0}
    return json.dumps(about | {"inputs": [[1], [2.5], ["ab"], [[3]]]} | changes)


test_for.__test__ = False


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=4), st.sampled_from([1e-6, 1e-3]))
def test_numbers_are_close_where_numpy_finds_them_so(pairs, atol):
    ours, theirs = [list(side) for side in zip(*pairs, strict=True)]
    with np.errstate(all="ignore"):
        expected = bool(np.allclose(ours, theirs, rtol=1e-7, atol=atol))
    assert all_close(ours, theirs, atol) == expected
    assert all_close([ours, ours], [theirs, theirs], atol) == expected


@pytest.mark.parametrize(
    ("ours", "theirs"), [([1.0], [1.0, 1.0]), (1.0, [1.0, 2.0]), (None, 1.0), ("1", 1.0), ({1.0}, {1.0 + 1e-9}), ({}, {1: 2.0})]
)
def test_what_has_another_shape_or_is_no_number_is_not_close(ours, theirs):
    assert not all_close(ours, theirs, 1e-6) and not all_close(theirs, ours, 1e-6)


def test_floats_are_floats_and_rows_of_nothing_else():
    assert all(map(is_floats, (1.0, [1.0, 2.0], (1.0,))))
    assert not any(map(is_floats, ([], 1, [1.0, 1], "1.0", {1.0}, [[1.0]])))


@pytest.mark.parametrize(
    ("name", "dataset", "answer", "expected", "inp", "atol", "right"),
    [
        ("f", "mbpp", 3, 3, [0], 0, True),
        ("f", "mbpp", 3.0000001, 3, [0], 0, False),
        ("f", "mbpp", 3.0000001, 3.0, [0], 1e-6, True),
        ("f", "mbpp", 3, 3.0000001, [0], 1e-6, False),  # another type, and not equal
        ("f", "mbpp", (1.0, 2.0), [1.0, 2.0], [0], 1e-6, False),
        ("f", "mbpp", [1, 2], [2, 1], [0], 0, False),
        ("Diff", "mbpp", [1, 2, 2], [2, 1], [0], 0, True),
        ("Diff", "mbpp", [1], [2, 1], [0], 0, False),
        ("Diff", "humaneval", [1, 2], [2, 1], [0], 0, False),
        ("check_str", "mbpp", "any match", "another", [0], 0, True),
        ("check_str", "mbpp", None, None, [0], 0, True),
        ("check_str", "mbpp", None, "match", [0], 0, False),
        ("check_str", "mbpp", False, None, [0], 0, True),
        ("check_str", "mbpp", True, None, [0], 0, False),
        ("are_equivalent", "mbpp", 7, True, [0], 0, True),
        ("sum_div", "mbpp", 0, 5, [0], 0, True),
        ("surface_Area", "mbpp", 33, 1, [3, 4], 0, False),
        ("surface_Area", "mbpp", 35, 1, [3, 4], 0, True),
        ("digit_distance_nums", "mbpp", 7, 1, [123, 256], 0, True),
        ("find_zero", "humaneval", -0.5, 1e9, [[1, 2]], 1e-4, True),
        ("find_zero", "humaneval", -0.4, -0.4, [[1, 2]], 1e-4, False),
    ],
)
def test_what_is_right(name, dataset, answer, expected, inp, atol, right):
    assert agrees(answer, expected, inp, name, dataset, atol) == right


def test_the_two_oracles_by_hand():
    assert [pyramid(3, 4), pyramid(6, 4), pyramid(1, 0)] == [35, 96, 2]  # slant heights 4.27, 5 and 0.5
    assert [digit_distance(1, 2), digit_distance(23, 56), digit_distance(123, 256), digit_distance(5, 105)] == [1, 6, 7, 1]


def test_a_program_answers_every_input_as_the_reference_does():
    asked = []
    check(lambda x: asked.append(x) or 2 * x, test_for())
    assert asked == [1, 2.5, "ab", [3]]
    with pytest.raises(AssertionError, match="answers 9"):
        check(lambda x: 9, test_for())
    with pytest.raises(ZeroDivisionError):
        check(lambda x: 1 / 0, test_for())


def test_the_reference_does_not_see_what_the_program_does_to_its_arguments():
    reference = "def f(x):\n    x.append(0)\n    return sum(x)"

    def program(x):
        x.append(0)
        return sum(x)

    check(program, test_for(reference=reference, inputs=[[[1, 2]], [[3]]]))


def test_once_floats_are_expected_what_follows_may_differ_by_as_much():
    inputs = [[0.5], [3]]
    almost = {0.5: 1.0 + 1e-9, 3: 6}
    check(almost.__getitem__, test_for(inputs=inputs))
    whole_first = test_for(inputs=[[3], [0.5]], reference="def f(x):\n    return 2 * x if x < 1 else complex(2 * x)")
    with pytest.raises(AssertionError):
        check({3: 6 + 1e-9j, 0.5: 1.0}.__getitem__, whole_first)
    floats_first = test_for(inputs=inputs, reference="def f(x):\n    return 2 * x if x < 1 else complex(2 * x)")
    check({3: 6 + 1e-9j, 0.5: 1.0}.__getitem__, floats_first)


@pytest.mark.parametrize("reference", ["def f(x):\n    return x.nothing", "def g(x): pass", "def f(x)", "import nothing"])
def test_an_error_of_the_reference_is_known_by_its_file(reference):
    with pytest.raises(Exception) as caught:
        check(lambda x: 2 * x, test_for(reference=reference))
    assert "reference.py" in [place.f_code.co_filename for place, _ in traceback.walk_tb(caught.value.__traceback__)]


def test_an_array_is_a_set_where_sets_are_compared_and_nowhere_else_a_truth():
    assert agrees(np.array([2, 1]), [1, 2], [0], "Diff", "mbpp", 0) is True
    assert agrees(np.array([2, 3]), [1, 2], [0], "Diff", "mbpp", 0) is False
    with pytest.raises(ValueError, match="ambiguous"):
        agrees(np.array([1, 2]), [1, 2], [0], "first", "mbpp", 0)
