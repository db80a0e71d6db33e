"""Benchmark problems do not belong in training data: found by their normalised statements."""

from __future__ import annotations

import re


def normalised(prompt: str) -> str:
    """The statement's words and numbers in lower case: no assert lines, punctuation, quotes or layout."""
    lines = [line for line in prompt.split("\n") if not line.lstrip().startswith(("assert ", "assert("))]
    return " ".join(re.findall(r"[^\W_]+", " ".join(lines).lower()))
