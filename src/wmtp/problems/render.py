"""How a problem and a solution become one text: the same for training and for evaluation."""

from __future__ import annotations

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
    difficulty: int = 0


def render_prompt(problem: Problem) -> str:
    """The text before the solution; always ends in a newline, so that no token need straddle the boundary.

    A prompt that ends in a newline is in its final form already (HumanEval's code, GSM8K's question). One line becomes
    a comment, several lines (a statement, or MBPP's with its first assert) a docstring.
    """
    text = problem.prompt
    if text.endswith("\n"):
        return text
    if "\n" not in text:
        return f"# {text}\n"
    quoted = text.replace('"""', "'''")
    return f'"""\n{quoted}\n"""\n'


def program_source(problem: Problem, completion: str) -> str:
    """The program to run: the completion, after the prompt where the prompt is code itself."""
    return problem.prompt + completion if problem.prompt.endswith("\n") else completion
