"""MBPP (Austin et al. 2021, arXiv 2108.07732): short functions in English, three asserts each."""

from __future__ import annotations

import math

from wmtp.errors import DataError
from wmtp.problems.formats import PromptFormat, Shot, evalplus
from wmtp.problems.published.evalplus import is_plus, mbpp_plus
from wmtp.problems.records import Notes, Record, take, take_or_null, take_strings, unix_newlines
from wmtp.tasksets.base import TaskSet
from wmtp.types import AssertTest, Problem, Solution

TIME_LIMIT_S = 3.0
"""For a program with all of its asserts (bigcode-evaluation-harness, tasks/mbpp.py: code_eval's timeout)."""


def to_problem(record: Record, where: str, notes: Notes) -> Problem:
    """The statement is the prompt, blanks and all, as are the asserts that it may show; each is a test, after the set-up code.

    The full configuration calls the statement `text`, the sanitized one `prompt` (with `test_imports`). A record of MBPP+ has
    all of its tests.
    """
    if is_plus(record):
        return mbpp_plus(record, where, notes)
    text = take(record, where, "text" if "text" in record or "prompt" not in record else "prompt", str)
    asserts = [unix_newlines(line) for line in take_strings(record, where, "test_list")]
    if not asserts:
        raise DataError(f"{where}: field 'test_list' is empty")
    imports = {"test_imports": take_or_null(record, where, "test_imports", list, [], notes)}
    setup = [unix_newlines(take_or_null(record, where, "test_setup_code", str, "", notes))]
    setup += take_strings(imports, where, "test_imports")
    head = "".join(f"{part}\n" for part in setup if part.strip())
    code = unix_newlines(take(record, where, "code", str))
    return Problem(
        problem_id=f"mbpp/{take(record, where, 'task_id', int)}",
        prompt=text,
        asserts=tuple(asserts),
        tests=tuple(AssertTest(head + line) for line in asserts),
        time_limit_s=TIME_LIMIT_S,
        solutions=(Solution(clean_code(code), True),),
    )


def split(problem: Problem) -> str:
    """By the number: 1 to 10 are for prompts, 11 to 510 the test set, 511 to 600 validation, 601 to 974 for training.

    Source: google-research, mbpp/README.md, and Austin et al. 2021, section 2.1.
    """
    number = int(problem.problem_id.rpartition("/")[2])
    return next(
        name for last, name in ((10, "prompt"), (510, "test"), (600, "validation"), (math.inf, "train")) if number <= last
    )


def clean_code(code: str) -> str:
    """Without trailing spaces, tabs as they are: what is left is what a model should learn to write."""
    return "\n".join(line.rstrip() for line in code.strip("\n").split("\n")).rstrip()


def in_docstring(problem: Problem) -> str:
    """The statement and the first assert in a docstring."""
    return f'"""\n{problem.prompt}\n{problem.asserts[0]}\n"""\n'


def before_begin(problem: Problem) -> str:
    """The statement in a sentence, every assert, and the mark that code follows."""
    tests = "\n".join(problem.asserts)
    return (
        f"You are an expert Python programmer, and here is your task: {problem.prompt} Your code should pass these tests:"
        f"\n\n{tests}\n[BEGIN]\n"
    )


def up_to_done(shot: Shot) -> str:
    """The reference solution as its record has it, line ends included, and the mark that ends it."""
    return f"{shot.record['code']}\n[DONE]"


DOCSTRING = PromptFormat(
    "bigcode",
    "bigcode-evaluation-harness, tasks/mbpp.py; Fried et al. 2022, arXiv 2204.05999",
    in_docstring,
    stop=("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```"),
)
AUSTIN = PromptFormat(
    "austin",
    "Austin et al. 2021, arXiv 2108.07732; google-research, mbpp/README.md; lm-evaluation-harness, tasks/mbpp",
    before_begin,
    stop=("[DONE]",),
    max_new_tokens=256,
    answer=up_to_done,
    between="\n\n",
    num_shots=3,
    shot_ids=(("mbpp/2", "mbpp/3", "mbpp/4"),),
)
TASKSET = TaskSet(
    name="mbpp",
    description="MBPP: short Python functions from one sentence and an assert, full or sanitized",
    citation="Austin et al. 2021, arXiv 2108.07732",
    read=to_problem,
    split=split,
    formats=(DOCSTRING, AUSTIN, evalplus(in_docstring, ('\n"""', "\nassert"))),
    packages=("numpy",),  # which the harnesses' environments have, and the tests of MBPP+ import
).asked(DOCSTRING)
