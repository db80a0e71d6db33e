"""Benchmark problems do not belong in training data: found by their statements, whole, in part or slightly changed."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wmtp.problems.similar import SimilarTexts
from wmtp.types import Problem

GRAM = 13
"""Words of a gram (Brown et al. 2020, arXiv 2005.14165, appendix C)."""

LEAST_WORDS = 5
"""A statement of fewer words is only found as a whole: anything may hold it."""


def normalised(prompt: str) -> str:
    """The statement's words and numbers in lower case and in their plain form: no assert lines, punctuation, quotes or layout,
    and full-width or raised characters as the ordinary ones (NFKC)."""
    plain = unicodedata.normalize("NFKC", prompt)
    lines = [line for line in plain.split("\n") if not line.lstrip().startswith(("assert ", "assert("))]
    return " ".join(re.findall(r"[^\W_]+", " ".join(lines).lower()))


@dataclass(frozen=True)
class Match:
    """Why a statement is not used: `how` it agrees (`same`, `overlap`, `similar`), to which `degree`, with which problem."""

    how: str
    degree: float
    problem: Problem


@dataclass(frozen=True)
class Removed:
    """A problem that was left out because of another one; both with file and row."""

    problem_id: str
    file: str
    row: int
    reason: str
    how: str
    degree: float
    because: str
    because_file: str
    because_row: int

    @classmethod
    def of(cls, problem: Problem, reason: str, match: Match) -> Removed:
        """`problem`, left out for `reason`."""
        other, degree = match.problem, round(match.degree, 4)
        own = (problem.problem_id, problem.file, problem.row)
        return cls(*own, reason, match.how, degree, other.problem_id, other.file, other.row)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Statements:
    """Statements to compare others with.

    Args:
        problems: whose statements; the first of equal ones counts.
        overlap_frac: share of the grams of the shorter of two statements that the other one has, from which they agree; None:
            grams are not compared.
        similarity: see `SimilarTexts`; None: similarities are not looked at.
    """

    def __init__(self, problems: Sequence[Problem], *, overlap_frac: float | None, similarity: float | None) -> None:
        self.overlap_frac = overlap_frac
        self._problems: list[Problem] = []
        self._texts: dict[str, int] = {}
        self._grams: dict[str, list[int]] = {}
        self._num_grams: list[int] = []
        self._short: list[tuple[str, int]] = []
        self._similar = None if similarity is None else SimilarTexts(similarity)
        for problem in problems:
            self.add(problem, normalised(problem.prompt))

    def add(self, problem: Problem, text: str) -> None:
        """One more; `text` is its normalised statement."""
        if text in self._texts:
            return
        number = self._texts[text] = len(self._problems)
        self._problems.append(problem)
        if self._similar is not None:
            self._similar.add(text)
        if self.overlap_frac is not None:
            own = grams(text)
            self._num_grams.append(len(own))
            for gram in own:
                self._grams.setdefault(gram, []).append(number)
            if not own and text.count(" ") + 1 >= LEAST_WORDS:
                self._short.append((f" {text} ", number))

    def find(self, text: str) -> Match | None:
        """The statement that the normalised `text` agrees with, by the plainest way in which it does."""
        if text in self._texts:
            return Match("same", 1.0, self._problems[self._texts[text]])
        overlap = self._overlap(text) if self.overlap_frac is not None else None
        if overlap is not None:
            return overlap
        found = self._similar.find(text) if self._similar is not None else None
        return Match("similar", found[1], self._problems[found[0]]) if found is not None else None

    def _overlap(self, text: str) -> Match | None:
        """The statement that shares most grams with `text`, or that is a part of it, or it of that."""
        assert self.overlap_frac is not None
        own = grams(text)
        shared = Counter(number for gram in own for number in self._grams.get(gram, ()))
        degrees = {number: hits / min(len(own), self._num_grams[number]) for number, hits in shared.items()}
        best = max(degrees, key=lambda number: (degrees[number], -number), default=None)
        if best is not None and degrees[best] >= self.overlap_frac:
            return Match("overlap", degrees[best], self._problems[best])
        held = next((number for short, number in self._short if short in f" {text} "), None)
        if held is None and not own and text.count(" ") + 1 >= LEAST_WORDS:
            held = next((number for other, number in self._texts.items() if f" {text} " in f" {other} "), None)
        return None if held is None else Match("overlap", 1.0, self._problems[held])


def grams(text: str) -> set[str]:
    """All runs of `GRAM` words; none of a shorter text."""
    words = text.split()
    return {" ".join(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1)}
