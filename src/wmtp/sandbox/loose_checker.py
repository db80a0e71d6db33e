"""Is this output the expected one, as APPS and TACO see it? Judged outside of the sandbox, case by case as their testers do.

Both are looser than they seem to mean, and can be fooled: see docs/evaluation.md. They are here because numbers that were
published with them can be compared with no others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

RELATIVE, ABSOLUTE = 1e-5, 1e-8
"""Of numpy.allclose, by its defaults."""
DIGITS = 3


def same_as_apps(printed: str, expected: str) -> bool:
    """The same text, apart from blanks around it and around the printed lines; else the same lines without empty ones, as
    texts or as one number each; else the same set of lines, each of them a set of words, or of numbers with three digits.

    Source: hendrycks/apps, eval/testing_util.py (Hendrycks et al. 2021, arXiv 2105.09938).
    """
    ours, wanted = printed.splitlines(), expected.strip()
    if wanted in ("\n".join(ours).strip(), "\n".join(line.strip() for line in ours).strip()):
        return True
    theirs = _lines(expected)
    if ours == theirs:
        return True
    ours = [line for line in ours if line]
    if ours == theirs or _close(ours, theirs):
        return True
    words = [line.split() for line in ours]
    return _same_sets([line for line in words if line], [line.split() for line in theirs])


def same_as_taco(printed: str, expected: str) -> bool:
    """The same text, apart from blanks around it.

    TACO took over the further steps of APPS, which were made for a list of lines, and gives them one text: they go through
    its letters. So they hold where every digit is an expected line, and where the letters of the words are the expected
    words of the lines.

    Source: FlagOpen/TACO, metrics/testing_util.py (Li et al. 2023, arXiv 2312.14852).
    """
    if printed.strip() == expected.strip():
        return True
    theirs = _lines(expected)
    return _close(printed, theirs) or _same_sets(printed.split(), [line.split() for line in theirs])


def _lines(expected: str) -> list[str]:
    """Without empty ones; one of blanks alone stays, as an empty one."""
    return [line.strip() for line in expected.split("\n") if line]


def _close(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """As many numbers here and there, all of them about the same."""
    try:
        pairs = list(zip(map(float, ours), map(float, theirs), strict=True))
    except ValueError:
        return False
    return all(a == b or (math.isfinite(b) and abs(a - b) <= ABSOLUTE + RELATIVE * abs(b)) for a, b in pairs)


def _same_sets(ours: Iterable[Iterable[str]], theirs: Iterable[Iterable[str]]) -> bool:
    mine, other = ({frozenset(line) for line in lines} for lines in (ours, theirs))
    if mine == other:
        return True
    try:
        rounded = [{frozenset(round(float(word), DIGITS) for word in line) for line in lines} for lines in (mine, other)]
    except ValueError:
        return False
    return rounded[0] == rounded[1]
