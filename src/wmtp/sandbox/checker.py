"""Is this output the expected one? Judged outside of the sandbox.

Source: CodeContests, Li et al. 2022 (arXiv 2203.07814), appendix: whitespace tokens, case-insensitive, numbers to 1e-5.
"""

from __future__ import annotations

import re

TOLERANCE = 1e-5
_INTEGER = re.compile(r"[+-]?\d+")


def same_output(printed: str, expected: str) -> bool:
    """Compare whitespace tokens: integers exactly, floats within 1e-5 (relative or absolute), words case-insensitively."""
    ours, theirs = printed.split(), expected.split()
    return len(ours) == len(theirs) and all(_same_token(a, b) for a, b in zip(ours, theirs, strict=True))


def _same_token(a: str, b: str) -> bool:
    if a == b or a.lower() == b.lower():
        return True
    if _INTEGER.fullmatch(b) and _INTEGER.fullmatch(a):
        return a.lstrip("+").lstrip("0") == b.lstrip("+").lstrip("0")
    if _INTEGER.fullmatch(b):
        return False
    try:
        x, y = float(a), float(b)
    except ValueError:
        return False
    return x == y or abs(x - y) <= TOLERANCE * max(1.0, abs(y))
