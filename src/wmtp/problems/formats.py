"""How a benchmark's question is put to a model: published formats by name, and solved examples before the question.

Words that a model reads are the published ones or the data's; where a file's text goes into a prompt, it goes in as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wmtp.problems.records import Record
from wmtp.types import Problem

Grades = dict[str, bool]
"""What a text answer is judged by, by name; `passed` is the one that counts."""


@dataclass(frozen=True)
class Shot:
    """A solved example: the problem, and its record as it stands in the file."""

    problem: Problem
    record: Record


@dataclass(frozen=True)
class PromptFormat:
    """One published way to ask a benchmark's questions. What is None is as the task set has it.

    Attributes:
        name: of `--prompt`.
        citation: whose convention it is.
        question: the text up to where the answer starts.
        stop: strings that end a completion while it is generated.
        max_new_tokens: how long a completion may become, as published.
        answer: a solved example's answer, as it follows its question. None: the format has no examples.
        between: what separates an example from what follows.
        num_shots: how many examples, as published.
        shot_ids: which ones, in order: the first of these lists whose problems the examples' file holds.
        kind: what an example and its question have in common, where the format has examples of several kinds.
        assemble: the program that a completion makes.
        judge: what a text answer is judged by.
        sanitizes: whether completions are cut down to their code first, see `wmtp.problems.sanitize`.
        prefill: what a chat's answer already starts with.
        system: what a chat's system says.
        needs_chat: whether it is nothing but a chat.
        in_chat: what takes this format's place where the tokenizer's chat template is used. None: the same text is the
            user's message, and the template is used only where it is asked for.
    """

    name: str
    citation: str
    question: Callable[[Problem], str]
    stop: tuple[str, ...] = ()
    max_new_tokens: int = 512
    answer: Callable[[Shot], str] | None = None
    between: str = ""
    num_shots: int = 0
    shot_ids: tuple[tuple[str, ...], ...] = ()
    kind: Callable[[Problem], str] | None = None
    assemble: Callable[[Problem, str], str] | None = None
    judge: Callable[[Problem, str], Grades] | None = None
    sanitizes: bool = False
    prefill: str = ""
    system: str = ""
    needs_chat: bool = False
    in_chat: PromptFormat | None = None

    def example(self, shot: Shot) -> str:
        """A solved example with what separates it from the next."""
        assert self.answer is not None, f"{self.name} has no examples"
        return self.question(shot.problem) + self.answer(shot) + self.between

    def prompt(self, problem: Problem, shots: Sequence[Shot] = ()) -> str:
        """The whole prompt, examples first."""
        return "".join(map(self.example, shots)) + self.question(problem)


_EVALPLUS_STOP = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(")
_EVALPLUS_ASKS = "Please provide a self-contained Python script that solves the following problem in a markdown code block:"
_EVALPLUS_ANSWERS = (
    "Below is a Python script with a self-contained function that solves the problem and passes corresponding tests:"
)


def evalplus(code: Callable[[Problem], str], stop: tuple[str, ...]) -> PromptFormat:
    """EvalPlus' two ways: the prompt's code for a base model, a chat with a prefilled answer where there is a template.

    A completion's tabs become four blanks, as there.

    Args:
        code: the benchmark's prompt; blanks around it are EvalPlus' to remove.
        stop: strings that end a base model's completion of this benchmark, beside those of all.
    Source: evalplus/evalplus, codegen.py and provider/ (Liu et al. 2023, arXiv 2305.01210).
    """
    citation = "Liu et al. 2023, arXiv 2305.01210; evalplus/evalplus, codegen.py"

    def question(problem: Problem) -> str:
        return code(problem).strip() + "\n"

    def message(problem: Problem) -> str:
        return f"{_EVALPLUS_ASKS}\n```\n{code(problem).strip()}\n```\n"

    chat = PromptFormat(
        "evalplus",
        citation,
        message,
        stop=(*_EVALPLUS_STOP, "\n```\n"),
        max_new_tokens=768,
        assemble=lambda problem, completion: completion.replace("\t", "    "),
        sanitizes=True,
        prefill=f"{_EVALPLUS_ANSWERS}\n```python\n",
    )
    return PromptFormat(
        "evalplus",
        citation,
        question,
        stop=(*_EVALPLUS_STOP, *stop),
        max_new_tokens=768,
        assemble=lambda problem, completion: question(problem) + completion.replace("\t", "    "),
        sanitizes=True,
        in_chat=chat,
    )
