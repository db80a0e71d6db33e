"""What APPS and TACO have in common: JSON inside of texts, and tests of a program or of a function."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from wmtp.errors import DataError
from wmtp.problems.published.calls import call_test
from wmtp.problems.records import Notes, Record, json_value, take, take_or_null, take_strings, unix_newlines
from wmtp.types import IOTest, Problem, Solution, Test

TIME_LIMIT_S = 4.0
"""For a test (hendrycks/apps and FlagOpen/TACO, testing_util.py)."""
ALL_CALLS_LIMIT_S = 60.0
"""For the calls of a function together, which run in one process."""
_ASSUMED = {
    "import sys": "sys stdin stdout",
    "import time": "time",
    "import itertools": "itertools",
    "from itertools import accumulate, product, permutations, combinations": "accumulate product permutations combinations",
    "import collections": "collections",
    "from collections import Counter, OrderedDict, deque, defaultdict, ChainMap": (
        "Counter OrderedDict deque defaultdict ChainMap"
    ),
    "from functools import lru_cache": "lru_cache",
    "import math": "math",
    "from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2": (
        "sqrt sin cos tan ceil fabs floor gcd exp log log2"
    ),
    "import fractions": "fractions",
    "from typing import List, Tuple": "List Tuple",
    "import numpy as np": "np",
    "import random": "random",
    "import heapq": "heapq",
    "from heapq import *": "heappush heappop heapify heapreplace merge nlargest nsmallest heappushpop",
    "stdin = sys.stdin": "stdin",
    "stdout = sys.stdout": "stdout",
}
"""What programs may take as imported (both testers), and the names that it gives them."""
_FUTURE = re.compile(r"(?:from __future__ import [^\n(]*\n)*")


def with_imports(problem: Problem, completion: str) -> str:
    """The program after those imports that it has a name of: the others would cost time and change nothing."""
    words = set(re.findall(r"\w+", completion))
    needed = [line for line, names in _ASSUMED.items() if words & set(names.split())]
    head = _FUTURE.match(completion)
    assert head is not None  # it may be empty
    return completion[: head.end()] + "".join(f"{line}\n" for line in needed) + completion[head.end() :]


def time_limit_s(tests: tuple[Test, ...], each: float = TIME_LIMIT_S) -> float:
    """Of one test on standard input, or of all calls together."""
    in_calls = bool(tests) and not isinstance(tests[0], IOTest)
    return min(max(each, ALL_CALLS_LIMIT_S), each * len(tests)) if in_calls else each


def read_tests(record: Record, where: str, notes: Notes) -> tuple[Test, ...]:
    """`input_output`: inputs and outputs, of the function `fn_name` where there is one; an empty text is no tests."""
    text = take_or_null(record, where, "input_output", str, "", notes)
    if not text.strip():
        return ()
    here = f"{where}: input_output"
    pairs = json_value(text, here)
    if not isinstance(pairs, dict):
        raise DataError(f"{here} must hold an object, found {type(pairs).__name__}")
    inputs, outputs = take(pairs, here, "inputs", list, []), take(pairs, here, "outputs", list, [])
    if len(inputs) != len(outputs):
        raise DataError(f"{here} has {len(inputs)} inputs but {len(outputs)} outputs")
    name = take(pairs, here, "fn_name", str, None) if pairs.get("fn_name") is not None else None
    tests: list[Test] = []
    for i, (given, right) in enumerate(zip(inputs, outputs, strict=True)):
        at = f"{here}: inputs[{i}]"
        if name is None:
            tests.append(IOTest(_text(given, at), _text(right, f"{here}: outputs[{i}]")))
        elif isinstance(given, list):
            has_numbers = _keys_are_numbers(given), _keys_are_numbers(right)
            tests.append(call_test(name, given, right, _SAME, at, _prepared(*has_numbers)))
        else:
            raise DataError(f"{at} must be a list of arguments, found {type(given).__name__}")
    return tuple(tests)


_SAME = """\
_same = _answer == _right
if _builtins.isinstance(_right, _builtins.list) and _right:
    _same = _same or _answer == _right[0]
    try:
        if _builtins.isinstance(_answer[0], _builtins.tuple):
            _same = _same or [_builtins.list(_item) for _item in _answer] == _right[0]
    except (_builtins.TypeError, _builtins.LookupError):
        pass
"""
"""An answer may stand in a list of its own, and tuples are lists there (hendrycks/apps and FlagOpen/TACO, testing_util.py)."""


def _keys_are_numbers(value: Any) -> bool:
    """Whether it is, or begins with, an object all of whose keys JSON has made texts of."""
    first = value[0] if isinstance(value, list) and value else value
    try:
        return isinstance(first, dict) and bool([int(key) for key in first])
    except ValueError:
        return False


def _prepared(args: bool, right: bool) -> str:
    """Statements that give the first argument's, or the right answer's, keys back as numbers."""
    numbers = "{_builtins.int(_key): _value for _key, _value in %s.items()}"
    lines = f"_args[0] = {numbers % '_args[0]'}\n" if args else ""
    if right:
        lines += "_right = _right if _builtins.isinstance(_right, _builtins.list) else [_right]\n"
        lines += f"_right[0] = {numbers % '_right[0]'}\n"
    return lines


def _text(value: Any, where: str) -> str:
    """A text, which may stand as the list of its lines."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(take_strings({"lines": value}, where, "lines"))
    raise DataError(f"{where} must be a text or a list of lines, found {type(value).__name__}")


def read_solutions(record: Record, where: str, notes: Notes) -> tuple[Solution, ...]:
    """`solutions`: a list of right ones; an empty text is none."""
    text = take_or_null(record, where, "solutions", str, "", notes)
    if not text.strip():
        return ()
    codes = take_strings({"solutions": json_value(text, f"{where}: solutions")}, where, "solutions")
    return tuple(Solution(unix_newlines(code).strip("\n"), True) for code in codes)


def read_prompt(record: Record, where: str, notes: Notes) -> str:
    """The question, and the code to start with where there is some."""
    question = unix_newlines(take(record, where, "question", str)).strip()
    starter = unix_newlines(take_or_null(record, where, "starter_code", str, "", notes)).strip()
    return f"{question}\n\n{starter}" if starter else question


def level(record: Record, where: str, levels: Mapping[str, int | None], notes: Notes) -> int | None:
    """`difficulty`, a word, as a number."""
    word = take_or_null(record, where, "difficulty", str, None, notes)
    if word is not None and word not in levels:
        raise DataError(f"{where}: field 'difficulty' must be one of {', '.join(levels)}, found {word!r}")
    return levels[word] if word is not None else None
