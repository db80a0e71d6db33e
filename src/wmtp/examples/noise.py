"""What the web does to solutions: stray comments, boilerplate, broken spans, answers to another question.

Every function returns the text and the characters that are noise.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from wmtp.config.data import NoiseConfig
from wmtp.problems.render import Span

MISMATCHED = "mismatched"
KINDS = ("comments", "boilerplate", "corrupted", MISMATCHED)
"""`comments`: irrelevant comment lines. `boilerplate`: licence headers, page furniture, unused imports and variables.
`corrupted`: one span of characters shuffled, repeated or replaced. `mismatched`: a solution of another problem."""

_VOCABULARY = """
the a this that for with from into about after before when while not never always please thanks quick old new big small
cache server client button page user login email token report invoice order price holiday coffee meeting friday monday
release deploy branch review legacy vendor module driver window border color font margin header footer banner video
photo forum thread reply answer vote question beginner homework exam lecture recipe garden weather train ticket hotel
flight memory disk socket timer queue buffer lock signal debug trace warning notice error issue version update fix check
remove rename move copy paste open close save load send fetch retry skip wait ask find keep drop hide show click
"""
_WORDS = _VOCABULARY.split()
_MARKS = ("", "", "", "TODO ", "FIXME ", "NOTE: ", "XXX ", "hack: ")
_YEARS = range(1998, 2027)
_NAMES = ("Kim", "Garcia", "Novak", "Okafor", "Jensen", "Rossi", "Tanaka", "Weber", "Singh", "Dubois")
_LICENSES = ("MIT License", "Apache License 2.0", "BSD 3-Clause License", "GNU GPL v3", "All rights reserved")
_MODULES = ("os", "sys", "re", "math", "json", "time", "random", "string", "itertools", "functools", "collections", "copy")
_PAGE = (
    "Home | Forum | Login | {a} {b}",
    "Posted by {a}{n} {n} days ago, {n} votes",
    "Share on {a} - {b} - {c}",
    "Skip to content. {a} {b} {c}",
    "Copyright (c) {y} {name}. {license}.",
    "Accepted answer ({n} upvotes) by {name}",
    "Cookies help us {a} {b}. Read more about {c}.",
    "Ad: {a} {b} {c}, only {n} dollars",
)
_JUNK = "~`!@$%^&*()_+-={}[]|;:,.<>?/ abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Noised:
    """A program with noise, and which of its characters are noise."""

    code: str
    spans: tuple[Span, ...]


def choose_kind(config: NoiseConfig, draw: random.Random) -> str:
    """A kind by the configured shares, "" for a clean solution."""
    if draw.random() >= config.frac:
        return ""
    return draw.choices(KINDS, [getattr(config, kind) for kind in KINDS])[0]


def add_noise(kind: str, code: str, other: str, draw: random.Random) -> Noised:
    """`code` with noise of `kind`; `other` is a solution of another problem, used by `mismatched`."""
    if kind == "comments":
        return _comments(code, draw)
    if kind == "boilerplate":
        return _boilerplate(code, draw)
    if kind == "corrupted":
        return _corrupted(code, draw)
    if kind == MISMATCHED:
        return Noised(other, ((0, len(other)),))
    if kind:
        raise ValueError(f"unknown noise kind {kind!r}: known are {', '.join(KINDS)}")
    return Noised(code, ())


def _sentence(draw: random.Random, low: int, high: int) -> str:
    return " ".join(draw.choice(_WORDS) for _ in range(draw.randint(low, high)))


def _with_lines(code: str, inserted: dict[int, str]) -> Noised:
    """`code` with whole lines inserted before the given line numbers (after the last one: at the end)."""
    text, spans = "", []
    lines = code.split("\n")
    for number in range(len(lines) + 1):
        if number in inserted:
            last = number == len(lines)
            noise = f"\n{inserted[number]}" if last else f"{inserted[number]}\n"
            text = text.removesuffix("\n") if last else text
            spans.append((len(text), len(text) + len(noise)))
            text += noise
        if number < len(lines):
            text += lines[number] + ("\n" if number + 1 < len(lines) else "")
    return Noised(text, tuple(spans))


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _comments(code: str, draw: random.Random) -> Noised:
    """One or two comment lines, indented like the line they precede."""
    lines = code.split("\n")
    places = [n for n, line in enumerate(lines) if line.strip()] or [0]
    chosen = draw.sample(places, min(len(places), draw.choice((1, 1, 2))))
    return _with_lines(code, {n: f"{_indent(lines[n])}# {draw.choice(_MARKS)}{_sentence(draw, 3, 6)}" for n in chosen})


def _page_line(draw: random.Random) -> str:
    a, b, c = (draw.choice(_WORDS) for _ in range(3))
    return draw.choice(_PAGE).format(
        a=a, b=b, c=c, n=draw.randint(2, 99), y=draw.choice(_YEARS), name=draw.choice(_NAMES), license=draw.choice(_LICENSES)
    )


def _boilerplate(code: str, draw: random.Random) -> Noised:
    """One to two lines before or after the program that do nothing: header, page furniture, imports, variables."""
    choices = (
        lambda: f"# {_page_line(draw)}",
        lambda: f"import {', '.join(draw.sample(_MODULES, draw.randint(1, 3)))}",
        lambda: f"__author__ = '{draw.choice(_NAMES)}'",
        lambda: f"DEBUG_{draw.choice(_WORDS).upper()} = {draw.choice(('True', 'False', 'None'))}",
    )
    made = [draw.choices(choices, (4, 3, 1, 1))[0]() for _ in range(draw.randint(1, 2))]
    end = len(code.split("\n"))
    return _with_lines(code, {(end if draw.random() < 0.25 else 0): "\n".join(made)})


def _corrupted(code: str, draw: random.Random) -> Noised:
    """A span of 6 to 20 characters is shuffled, written twice or replaced by random characters."""
    length = min(len(code), draw.randint(6, 20))
    start = draw.randint(0, len(code) - length)
    old = code[start : start + length]
    way = draw.randrange(3)
    if way == 0:
        letters = list(old)
        draw.shuffle(letters)
        new = "".join(letters)
    elif way == 1:
        new = old + old
    else:
        new = "".join(draw.choice(_JUNK) for _ in range(length))
    return Noised(code[:start] + new + code[start + length :], ((start, start + len(new)),))
