"""Is this output the expected one? Judged outside of the sandbox.

Source: CodeContests, Li et al. 2022 (arXiv 2203.07814) and its public tester (google-deepmind/code_contests, execution/):
tokens between blanks, in lower case (both of ASCII only); equal texts pass as a whole; else every two tokens that are numbers
may differ by less than 1e-5, absolutely and as doubles, integers too, and others must be equal. So `5.0` is right for `5`, and
`1000009.0` is wrong for `1000000.0`, and a NaN is right only where the outputs are equal as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from wmtp.sandbox.loose_checker import same_as_apps, same_as_taco
from wmtp.types import Checker

TOLERANCE = 1e-5
_BLANKS = re.compile(r"[ \n\t\r\v]+")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*(e[+-]?[0-9]+)?|\.[0-9]+(e[+-]?[0-9]+)?|inf|infinity|nan)")
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def same_output(printed: str, expected: str, checker: Checker = "codecontests") -> bool:
    """Compare as CodeContests does; `exact_integers`: integers of any size are the same number; `exact`: tokens the same;
    `lines`: as LiveCodeBench does, line by line, numbers of one value the same; `apps` and `taco`: as those do.
    """
    if checker in _WHOLE:
        return _WHOLE[checker](printed, expected)
    ours, theirs = _tokens(printed), _tokens(expected)
    if ours == theirs or checker == "exact":
        return ours == theirs
    same = _same_exactly if checker == "exact_integers" else _same_token
    return len(ours) == len(theirs) and all(same(a, b) for a, b in zip(ours, theirs, strict=True))


def _same_lines(printed: str, expected: str) -> bool:
    """Source: LiveCodeBench, lcb_runner/evaluation/testing_util.py (blanks around lines do not count)."""
    ours, theirs = ([line.strip() for line in text.strip().split("\n")] for text in (printed, expected))
    return len(ours) == len(theirs) and all(a == b or _same_numbers(a, b) for a, b in zip(ours, theirs, strict=True))


_WHOLE: dict[str, Callable[[str, str], bool]] = {"lines": _same_lines, "apps": same_as_apps, "taco": same_as_taco}


def _same_numbers(line: str, other: str) -> bool:
    try:
        ours, theirs = ([Decimal(word) for word in text.split()] for text in (line, other))
        return ours == theirs
    except InvalidOperation:
        return False


def _tokens(text: str) -> list[str]:
    return [token for token in _BLANKS.split(text.translate(_LOWER)) if token]


def _same_exactly(a: str, b: str) -> bool:
    if _INTEGER.fullmatch(a) and _INTEGER.fullmatch(b):
        return _digits(a) == _digits(b)
    return _same_token(a, b)


def _digits(integer: str) -> str:
    """Sign and digits without what means nothing; a text, because `int` refuses very long ones."""
    digits = integer.lstrip("+-").lstrip("0")
    return f"-{digits}" if integer.startswith("-") and digits else digits


def _same_token(a: str, b: str) -> bool:
    if _NUMBER.fullmatch(a) and _NUMBER.fullmatch(b):
        return abs(float(a) - float(b)) < TOLERANCE
    return a == b
