"""Assert tests that call a function, or a method of the class `Solution`, and compare what it returns (APPS, LiveCodeBench)."""

from __future__ import annotations

import builtins
import json
from typing import Any

from wmtp.errors import DataError
from wmtp.types import AssertTest

_TEST = """\
import builtins as _builtins
import json as _json
_args, _right = _json.loads({args!r}), _json.loads({right!r})
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
if _builtins.isinstance(_answer, _builtins.list):
    _answer = [_builtins.list(_item) if _builtins.isinstance(_item, _builtins.tuple) else _item for _item in _answer]
assert _builtins.any(_answer == _value for _value in _right), f"returns {{_answer!r:.200}}"
"""
"""What it takes from the program is `Solution` or the function, nothing else: a program cannot redefine what judges it."""


def call_test(name: str, args: list[Any], right: list[Any], where: str) -> AssertTest:
    """The call `name(*args)` returns one of `right`; tuples count as lists, which JSON has instead.

    Raises:
        DataError: a name that no program can define for itself.
    """
    if not name.isidentifier() or hasattr(builtins, name):
        raise DataError(f"{where}: {name!r} is no name of a function to be written")
    return AssertTest(_TEST.format(name=name, args=json.dumps(args), right=json.dumps(right)))
