"""What a failed run says of a solution's algorithm, and what it only says of the place where it ran."""

from __future__ import annotations

import re

from wmtp.types import Verdict

PYTHON_2_NAMES = "raw_input xrange unicode unichr long reduce basestring cmp file execfile reload buffer apply intern coerce"
PYTHON_2_METHODS = "has_key iteritems itervalues iterkeys viewitems viewkeys viewvalues next"
CHANGED_MODULES = "string itertools sys os time fractions math collections inspect"
FILE_ERRORS = "FileNotFoundError PermissionError IsADirectoryError NotADirectoryError"


def _any_of(words: str) -> str:
    return f"({words.replace(' ', '|')})"


OTHER_PYTHON = (
    rf"NameError: name '{_any_of(PYTHON_2_NAMES)}'",
    rf"AttributeError: .*has no attribute '{_any_of(PYTHON_2_METHODS)}'",
    rf"AttributeError: module '{_any_of(CHANGED_MODULES)}' has no attribute ",
    r"TypeError: unsupported operand type\(s\) for >>: 'builtin_function_or_method' and ",
)
ELSEWHERE = (
    ("missing_module", r"(ModuleNotFoundError|ImportError)\b"),
    ("other_python", "|".join(OTHER_PYTHON)),
    ("file_access", rf"{_any_of(FILE_ERRORS)}\b|OSError: .*[Rr]ead-only file system"),
    ("sandbox_limit", r"RuntimeError: can't start new thread|BlockingIOError\b|more than \d+ processes"),
)
"""Reason and the failures that it covers, as `Verdict.detail` has them."""


def not_the_algorithm(verdict: Verdict) -> str:
    """Why a failure neither confirms nor contradicts a label; empty where it does, and where nothing failed.

    A solution that lacks a module here, was written for another Python, reads or writes files, or meets a limit that only the
    sandbox has may be right or wrong; so may one whose tests were seen to pass on one side and not on the other.
    """
    if verdict.status == "compile_error":
        return "other_python"
    if verdict.status == "suspicious":
        return "suspicious"
    if verdict.status != "runtime_error":
        return ""
    return next((reason for reason, pattern in ELSEWHERE if re.match(pattern, verdict.detail)), "")
