"""Assert tests that call a function, or a method of the class `Solution`, and compare what it returns (APPS, LiveCodeBench)."""

from __future__ import annotations

import builtins
import json
from typing import Any

from wmtp.errors import DataError
from wmtp.types import AssertTest

EQUAL = "_same = _answer == _right\n"
"""The comparison of LiveCodeBench (lcb_runner, evaluation/testing_util.py)."""
_TEST = """\
import builtins as _builtins
import json as _json
_args, _right = _json.loads({args!r}), _json.loads({right!r})
{prepare}\
try:
    _called = Solution().{name}
except _builtins.NameError:
    try:
        _called = {name}
    except _builtins.NameError:
        raise _builtins.AssertionError("the program defines neither {name} nor Solution") from None
_answer = _called(*_args)
if _builtins.isinstance(_answer, _builtins.tuple):
    _answer = _builtins.list(_answer)
{compare}\
assert _same, f"returns {{_answer!r:.200}}"
"""
"""What it takes from the program is `Solution` or the function, nothing else: a program cannot redefine what judges it."""


def call_test(name: str, args: list[Any], right: Any, compare: str, where: str, prepare: str = "") -> AssertTest:
    """The call `name(*args)` returns what is right; a tuple counts as a list, which JSON has instead.

    Args:
        compare: statements that set `_same` by `_answer` and `_right`, as the benchmark compares.
        prepare: statements before the call that make of `_args` and `_right` what JSON cannot say.
    Raises:
        DataError: a name that no program can define for itself.
    """
    if not name.isidentifier() or hasattr(builtins, name):
        raise DataError(f"{where}: {name!r} is no name of a function to be written")
    parts = {"args": json.dumps(args), "right": json.dumps(right), "compare": compare, "prepare": prepare}
    return AssertTest(_TEST.format(name=name, **parts))
