"""MBPP (Austin et al. 2021, arXiv 2108.07732): short functions in English, three asserts each."""

from __future__ import annotations

from wmtp.errors import DataError
from wmtp.problems.files import LeftOut
from wmtp.problems.records import Record, take, take_strings, unix_newlines
from wmtp.tasksets.base import TaskSet
from wmtp.types import AssertTest, Problem, Solution

TIME_LIMIT_S = 3.0
"""For a program with all of its asserts (bigcode-evaluation-harness, tasks/mbpp.py: code_eval's timeout)."""


def to_problem(record: Record, where: str, left_out: LeftOut) -> Problem:
    """The statement with its first assert is the prompt; every assert is a test, after the set-up code.

    The full configuration calls the statement `text`, the sanitized one `prompt` (with `test_imports`).
    """
    text = take(record, where, "text" if "text" in record or "prompt" not in record else "prompt", str)
    asserts = [unix_newlines(line) for line in take_strings(record, where, "test_list")]
    if not asserts:
        raise DataError(f"{where}: field 'test_list' is empty")
    setup = [unix_newlines(take(record, where, "test_setup_code", str, "")), *take_strings(record, where, "test_imports", [])]
    head = "".join(f"{part}\n" for part in setup if part.strip())
    code = unix_newlines(take(record, where, "code", str))
    return Problem(
        problem_id=f"mbpp/{take(record, where, 'task_id', int)}",
        prompt=f"{unix_newlines(text).strip()}\n{asserts[0].strip()}",
        tests=tuple(AssertTest(head + line) for line in asserts),
        time_limit_s=TIME_LIMIT_S,
        solutions=(Solution(clean_code(code), True),),
    )


def clean_code(code: str) -> str:
    """Without trailing spaces, tabs as they are: what is left is what a model should learn to write."""
    return "\n".join(line.rstrip() for line in code.strip("\n").split("\n")).rstrip()


TASKSET = TaskSet(
    name="mbpp",
    description="MBPP: short Python functions from one sentence and an assert, full or sanitized",
    citation="Austin et al. 2021, arXiv 2108.07732; stop strings of bigcode-evaluation-harness, tasks/mbpp.py",
    read=to_problem,
    stop=("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```"),
)
