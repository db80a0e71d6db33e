"""How a problem and a solution become one text. Which of these a dataset uses, its task set says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wmtp.types import Problem

Span = tuple[int, int]
"""Characters [start, stop)."""


@dataclass(frozen=True)
class History:
    """Where an example's text comes from, and how it got its label.

    Attributes:
        file, row, solution: the source file (or generator), the row there as errors name it, and the place in the row.
        language: what the source says that solution is written in; "" where it does not say.
        origin: `right` or `wrong` as given there, or `mutant`, made of a right one by an edit of the kind `edit`.
        text_of: the problem whose solution the text is, where noise put one of another problem in its place; else "".
        status, num_passed: what the final text did when it ran, and how many tests it passed before; "" and -1 where it did
            not run.
    """

    file: str = ""
    row: int = -1
    solution: str = ""
    language: str = ""
    origin: str = ""
    edit: str = ""
    text_of: str = ""
    status: str = ""
    num_passed: int = -1


@dataclass(frozen=True)
class Example:
    """One prompt with one solution and its label. `noise_spans` are characters of `code`; `noise_kind` "" means clean."""

    problem_id: str
    prompt: str
    code: str
    is_correct: bool
    noise_kind: str = ""
    noise_spans: tuple[Span, ...] = ()
    difficulty: int | None = None
    history: History = History()


def as_comment(problem: Problem) -> str:
    """A statement before a program: one line becomes a comment, several lines a docstring; ends in a newline."""
    if "\n" not in problem.prompt:
        return f"# {problem.prompt}\n"
    quoted = problem.prompt.replace('"""', "'''")
    return f'"""\n{quoted}\n"""\n'


def as_written(problem: Problem) -> str:
    """A prompt that is in its final form, such as the head of a function."""
    return problem.prompt


def completion_alone(problem: Problem, completion: str) -> str:
    """The completion is the program."""
    return completion


def after_prompt(problem: Problem, completion: str) -> str:
    """The prompt is code, and the completion goes on with it."""
    return problem.prompt + completion


def before_stop(text: str, stop: Sequence[str]) -> str:
    """`text` before the first stop string in it."""
    return text[: min((text.index(string) for string in stop if string in text), default=len(text))]
