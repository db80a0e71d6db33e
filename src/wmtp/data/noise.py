"""Web-like noise on solutions, with the characters it touched.

A solution's text is cut into spans of signal and noise; a token is noise when any of its characters is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wmtp.config.schema import NoiseConfig

KINDS = ("comments", "boilerplate", "corrupted", "mismatched")

_COMMENTS = (
    "# works on my machine", "# see the forum for details", "# thanks for the upvotes!", "# version 2, 14:05", "# old code below",
    "# edited by admin", "# click here to read more", "# not sure why this is needed", "# hope this helps :)", "# asked 3 years ago",
    "# copied from the blog", "# please accept this answer",
)  # fmt: skip
_HEADERS = (
    "# Copyright 2019 all rights reserved\n", "# Share - Follow - Report\n", "import os, sys\n", "import math\nimport random\n",
    "# -*- coding: utf-8 -*-\n", "# Posted in category: Python\n", "from collections import *\n", "# Comments (12) | Views: 4821\n",
    "DEBUG = False\n", "# Related: how to sort a list\n",
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """One solution as it will be trained on. `noise`: character ranges of `code` that are not the author's."""

    problem_id: str
    prompt: str
    code: str
    is_correct: bool
    difficulty: int
    noise_kind: str = ""
    noise: tuple[tuple[int, int], ...] = ()


def add_noise(examples: list[Example], config: NoiseConfig, seed: int) -> list[Example]:
    """Noise on a seeded share `config.frac` of the examples, kinds by their shares.

    Labels are carried over: whoever calls this executes the noisy programs and sets them anew.
    """
    generator = np.random.default_rng([seed, 7])
    shares = np.array([getattr(config, kind) for kind in KINDS])
    noisy = generator.random(len(examples)) < config.frac
    kinds = generator.choice(len(KINDS), size=len(examples), p=shares / shares.sum())
    result = []
    for example, is_noisy, kind in zip(examples, noisy, kinds, strict=True):
        if not is_noisy:
            result.append(example)
        elif KINDS[kind] == "mismatched":
            result.append(_mismatched(example, examples, generator))
        else:
            result.append(_EDITS[KINDS[kind]](example, generator))
    return result


def _mismatched(example: Example, examples: list[Example], generator: np.random.Generator) -> Example:
    """Another problem's solution under this prompt: all of it is noise."""
    others = (examples[int(generator.integers(len(examples)))] for _ in range(100))
    other = next((o for o in others if o.problem_id != example.problem_id), example)
    return replace(example, code=other.code, noise_kind="mismatched", noise=((0, len(other.code)),))


def _comments(example: Example, generator: np.random.Generator) -> Example:
    """One to three irrelevant comments, at the ends of lines or on lines of their own."""
    lines = example.code.splitlines(keepends=True)
    text, spans = "", []
    places = set(generator.choice(len(lines), size=min(len(lines), int(generator.integers(1, 4))), replace=False).tolist())
    for number, line in enumerate(lines):
        if number not in places:
            text += line
            continue
        comment = str(generator.choice(_COMMENTS))
        if generator.random() < 0.5:
            indent = line[: len(line) - len(line.lstrip())]
            text += indent
            spans.append((len(text), len(text) + len(comment) + 1))
            text += comment + "\n" + line[len(indent) :]
        else:
            text += line.rstrip("\n")
            spans.append((len(text), len(text) + len(comment) + 2))
            text += "  " + comment + "\n"
    return replace(example, code=text, noise_kind="comments", noise=tuple(spans))


def _boilerplate(example: Example, generator: np.random.Generator) -> Example:
    """One to three header lines that the solution does not need."""
    chosen = generator.choice(len(_HEADERS), size=int(generator.integers(1, 4)), replace=False)
    header = "".join(_HEADERS[i] for i in chosen)
    return replace(example, code=header + example.code, noise_kind="boilerplate", noise=((0, len(header)),))


def _corrupted(example: Example, generator: np.random.Generator) -> Example:
    """A span of a quarter to a half of the code with its words shuffled."""
    size = max(8, int(len(example.code) * generator.uniform(0.25, 0.5)))
    start = int(generator.integers(0, max(1, len(example.code) - size)))
    span = example.code[start : start + size]
    words = span.split(" ")
    shuffled = " ".join(words[i] for i in generator.permutation(len(words)))
    if shuffled == span:
        shuffled = span[::-1]
    code = example.code[:start] + shuffled + example.code[start + size :]
    return replace(example, code=code, noise_kind="corrupted", noise=((start, start + len(shuffled)),))


_EDITS = {"comments": _comments, "boilerplate": _boilerplate, "corrupted": _corrupted}
