"""What a failed run says of a solution's algorithm, and what it only says of the place where it ran."""

from __future__ import annotations

import re

from wmtp.types import Verdict

PYTHON_2_NAMES = "raw_input xrange unicode unichr long reduce basestring cmp file execfile reload buffer apply intern coerce"
GONE_METHODS = "has_key iteritems itervalues iterkeys viewitems viewkeys viewvalues isAlive tostring fromstring"
ITERATORS = r"generator|\w*iterator|map|filter|zip|enumerate|itertools\.\w+|_io\.\w+|_csv\.reader"
"""Types whose `next` became a function. Others may have one of their own, and a list's end has none."""
ONCE_LISTS = "map|filter|zip|range|dict_keys|dict_values|dict_items"
"""Types of what Python 2 gave as a list."""
CHANGED_MODULES = "string itertools sys os time fractions math collections inspect base64 array random threading"
FILE_ERRORS = "FileNotFoundError PermissionError IsADirectoryError NotADirectoryError"


def _any_of(words: str) -> str:
    return f"({words.replace(' ', '|')})"


OTHER_PYTHON = (
    rf"NameError: name '{_any_of(PYTHON_2_NAMES)}'",
    rf"AttributeError: .*has no attribute '{_any_of(GONE_METHODS)}'",
    rf"AttributeError: '({ITERATORS})' object has no attribute 'next'",
    rf"AttributeError: '({ONCE_LISTS})' object has no attribute ",
    rf"AttributeError: module '{_any_of(CHANGED_MODULES)}' has no attribute ",
    r"TypeError: unsupported operand type\(s\) for >>: 'builtin_function_or_method' and ",
    rf"TypeError: '({ONCE_LISTS})' object (is not subscriptable|does not support item (assignment|deletion))",
    rf"TypeError: object of type '({ONCE_LISTS})' has no len\(\)",
    r"TypeError: 'cmp' is an invalid keyword argument for sort",
    r"TypeError: Population must be a sequence\.",
    r"ValueError: Exceeds the limit \(\d+( digits)?\) for integer string conversion",
    r"error: global flags not at the start of the expression",
)
"""Of Python 2, and of a Python 3 before this one: numbers of any length were written and read until 3.10.7."""

SANDBOX = (
    r"RuntimeError: can't start new thread",
    r"BlockingIOError\b",
    r"more than \d+ processes",
    r"killed by signal 11$",
    r"(URLError|gaierror)\b",
    r"Error: unsupported locale setting",
    r"KeyError: 'getpw",
)
"""Signal 11 is a stack that overflows: where a program raises the limit of recursion, only the machine's own stack is left."""

ELSEWHERE = (
    ("other_python", "|".join(OTHER_PYTHON)),
    ("missing_module", r"(ModuleNotFoundError|ImportError)\b|AttributeError: (module '|.* was removed in the NumPy )"),
    ("file_access", rf"{_any_of(FILE_ERRORS)}\b|OSError: .*[Rr]ead-only file system"),
    ("sandbox_limit", "|".join(SANDBOX)),
)
"""Reason and the failures that it covers, as `Verdict.detail` has them. A name that a module lacks here it may have elsewhere,
as NumPy's `int` and `float_`."""


def not_the_algorithm(verdict: Verdict) -> str:
    """Why a failure neither confirms nor contradicts a label; empty where it does, and where nothing failed.

    A solution that lacks a module or a name of one here, was written for another Python, reads or writes files, or meets a
    limit that only the sandbox has may be right or wrong; so may one whose tests were seen to pass on one side and not on the
    other. What every Python 3 refuses and many a program gets wrong (a float as an index) is the program's own mistake.
    """
    if verdict.status == "compile_error":
        return "sandbox_limit" if "bytes of source, more than" in verdict.detail else "other_python"
    if verdict.status == "suspicious":
        return "suspicious"
    if verdict.status != "runtime_error":
        return ""
    return next((reason for reason, pattern in ELSEWHERE if re.match(pattern, verdict.detail)), "")
