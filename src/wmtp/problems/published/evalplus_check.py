"""EvalPlus' comparison of a program with a reference on many inputs.

This file's text is part of a test (see `evalplus` beside it): it runs where tests run, in a sandbox with nothing but the
standard library, and knows the program's answers as data. Behaves as evalplus/evalplus, eval/__init__.py does (Liu et al. 2023,
arXiv 2305.01210), its exceptions for single tasks included.
"""

import cmath
import copy
import json
import math
from collections.abc import Callable
from typing import Any

REFERENCE_FILE = "reference.py"
RELATIVE = 1e-7
FLOATS_APART = 1e-6
SAME_ELEMENTS = (
    "similar_elements",
    "find_char_long",
    "common_in_nested_lists",
    "extract_singly",
    "larg_nnum",
    "intersection_array",
    "find_dissimilar",
    "Diff",
)
"""MBPP's functions whose answers are compared as sets."""
IS_ANYTHING = ("check_str", "text_match_three", "text_starta_endb")
"""MBPP's functions that return a match or none."""

Function = Callable[..., Any]


def check(program: Function, test: str) -> None:
    """The program answers every input as the reference does.

    Args:
        test: JSON of `inputs`; `arguments`, an expression that makes an input's arguments of `inp`; `reference`, a program that
            defines `entry_point`; `dataset`; and `atol`.
    Raises:
        AssertionError: it does not. Whatever the program raises.
    """
    given = json.loads(test)
    reference = defined(given["reference"], given["entry_point"])
    arguments: Function = eval(f"lambda inp: {given['arguments']}")
    atol = given["atol"]
    for inp in map(arguments, given["inputs"]):
        expected = reference(*copy.deepcopy(inp))
        answer = program(*inp)
        if atol == 0 and is_floats(expected):
            atol = FLOATS_APART  # and for the inputs that follow, as EvalPlus has it
        assert agrees(answer, expected, inp, given["entry_point"], given["dataset"], atol), f"answers {answer!r:.200}"


def defined(source: str, name: str) -> Function:
    """What a program calls so; its errors are known by their file."""
    space: dict[str, Any] = {"__name__": "reference"}
    try:
        code = compile(f"{source}\n{name}\n", REFERENCE_FILE, "exec")
    except SyntaxError as error:
        code = compile(f"raise SyntaxError({str(error)!r})", REFERENCE_FILE, "exec")
    exec(code, space)
    function: Function = space[name]
    return function


def agrees(answer: Any, expected: Any, inp: Any, entry_point: str, dataset: str, atol: float) -> bool:
    """Whether an answer is right."""
    if dataset == "humaneval" and entry_point == "find_zero":
        return abs(sum(factor * math.pow(answer, power) for power, factor in enumerate(inp[0]))) <= atol
    same: Any = answer == expected  # what that is of arrays, some tasks' own rules do not ask
    if dataset == "mbpp":
        same = by_its_own_rule(same, answer, expected, inp, entry_point, atol)
    if same or atol == 0:
        return bool(same)
    if type(answer) is not type(expected):
        return False
    return all_close(answer, expected, atol)


def by_its_own_rule(same: Any, answer: Any, expected: Any, inp: Any, entry_point: str, atol: float) -> Any:
    """MBPP's tasks that have more than one right answer."""
    if entry_point == "are_equivalent":
        return True
    if entry_point == "sum_div":
        return same or answer == 0
    if entry_point == "surface_Area":
        return same or abs(answer - pyramid(*inp)) <= atol
    if entry_point == "digit_distance_nums":
        return same or answer == digit_distance(*inp)
    if entry_point in SAME_ELEMENTS:
        return set(answer) == set(expected)
    if entry_point in IS_ANYTHING:
        return (answer if isinstance(answer, bool) else answer is not None) == (expected is not None)
    return same


def pyramid(base: float, height: float) -> int:
    """Surface of a square pyramid of this height, to the nearest whole number."""
    return round(base**2 + 2 * base * math.sqrt((base / 2) ** 2 + height**2))


def digit_distance(one: Any, other: Any) -> int:
    """Sum of the differences of two numbers' digits, place by place."""
    width = max(len(str(one)), len(str(other)))
    return sum(abs(int(a) - int(b)) for a, b in zip(str(one).zfill(width), str(other).zfill(width), strict=True))


def is_floats(value: Any) -> bool:
    """A float, or a list or tuple of nothing but floats."""
    if isinstance(value, (list, tuple)) and value:
        return all(isinstance(item, float) for item in value)
    return isinstance(value, float)


def all_close(answer: Any, expected: Any, atol: float) -> bool:
    """Numbers, or lists and tuples of them of one shape, that differ by at most atol + 1e-7 |expected|."""
    if isinstance(answer, (list, tuple)) and isinstance(expected, (list, tuple)):
        same_length = len(answer) == len(expected)
        return same_length and all(all_close(a, b, atol) for a, b in zip(answer, expected, strict=True))
    if not (isinstance(answer, (int, float, complex)) and isinstance(expected, (int, float, complex))):
        return False
    if answer == expected:
        return True
    if not (cmath.isfinite(answer) and cmath.isfinite(expected)):
        return False
    return abs(answer - expected) <= atol + RELATIVE * abs(expected)
