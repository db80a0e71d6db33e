"""Your own data: problems in wmtp's own schema, one JSON object a line.

`{"problem_id", "prompt", "tests": [{"stdin", "stdout"} | {"code"}], "difficulty", "time_limit_s",
"memory_limit_bytes", "solutions": [{"code", "is_correct"}]}`; the last four may be left out.

A prompt that ends in a newline is code, which the solution goes on with: it stands as it is, and the program is both
together. Any other is a statement, shown as a comment, and the solution is the program. A completion ends with the end token
alone: whatever string it might stop at, a program may need it.
"""

from __future__ import annotations

from wmtp.problems.files import problem_from_record
from wmtp.problems.render import after_prompt, as_comment, as_written, completion_alone
from wmtp.tasksets.base import TaskSet
from wmtp.types import Problem


def prompt(problem: Problem) -> str:
    """Code as it is, a statement as a comment."""
    return as_written(problem) if is_code(problem) else as_comment(problem)


def assemble(problem: Problem, completion: str) -> str:
    """What runs: the completion, after the prompt where that is code."""
    return after_prompt(problem, completion) if is_code(problem) else completion_alone(problem, completion)


def is_code(problem: Problem) -> bool:
    return problem.prompt.endswith("\n")


TASKSET = TaskSet(
    name="jsonl",
    description="your own problems, one JSON object a line, with tests on standard input or as asserts",
    citation="the schema of this module",
    read=problem_from_record,
    prompt=prompt,
    is_code=is_code,
    assemble=assemble,
    packages=("numpy",),
)
