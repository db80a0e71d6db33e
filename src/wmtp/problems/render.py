"""How a problem and a solution become one text. Which of these a dataset uses, its task set says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wmtp.types import Problem

Span = tuple[int, int]
"""Characters [start, stop)."""


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
