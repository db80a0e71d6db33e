"""LiveCodeBench (Jain et al. 2024, arXiv 2403.07974): dated contest problems on standard input, or as methods of `Solution`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from dataclasses import replace
from typing import Any

from wmtp.errors import DataError
from wmtp.problems.formats import PromptFormat, Shot
from wmtp.problems.published.apps import level
from wmtp.problems.published.calls import EQUAL, call_test
from wmtp.problems.published.plain_pickle import text_in
from wmtp.problems.records import Notes, Record, json_value, take, take_or_null, unix_newlines
from wmtp.problems.render import as_comment
from wmtp.tasksets.base import TaskSet
from wmtp.types import IOTest, Problem, Solution, Test

LEVELS = {"easy": 1, "medium": 2, "hard": 3}
TIME_LIMIT_S = 6.0
"""For a test (lcb_runner, evaluation/compute_code_generation_metrics.py)."""
ALL_CALLS_LIMIT_S = 60.0
"""For the calls of a method together, which run in one process."""
MEMORY_LIMIT_BYTES = 2**30
MAX_UNPACKED_BYTES = 2**30
_MODULES = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools"),
    *("functools", "operator", "io", "sys", "json", "builtins", "typing"),
)
PREAMBLE = (
    "".join(f"from {name} import *\n" for name in _MODULES)
    + f"import {', '.join(_MODULES)}\n"
    + "sys.setrecursionlimit(50000)\n"
)
"""What programs may take as imported (lcb_runner, evaluation/testing_util.py)."""


def to_problem(record: Record, where: str, notes: Notes) -> Problem:
    """Public and private tests; the question and the code to start with as they stand.

    A record with `question` and `answer` is a solved example, as the benchmark's own prompts list them.
    """
    if "answer" in record:
        return _example(record, where, notes)
    public = json_value(take(record, where, "public_test_cases", str), f"{where}: public_test_cases")
    cases = [*_cases(public, f"{where}: public_test_cases"), *_private(record, where)]
    metadata = json_value(take_or_null(record, where, "metadata", str, "{}", notes), f"{where}: metadata")
    name = metadata.get("func_name") if isinstance(metadata, dict) else None
    tests = tuple(_test(case, name, at) for at, case in cases)
    if len({type(test) for test in tests}) > 1:
        raise DataError(f"{where} has tests on standard input and tests of a function, not one kind")
    on_input = all(isinstance(test, IOTest) for test in tests)
    return Problem(
        problem_id=f"livecodebench/{take(record, where, 'question_id', str)}",
        prompt=take(record, where, "question_content", str),
        starter=take_or_null(record, where, "starter_code", str, "", notes),
        tests=tests,
        difficulty=level(record, where, LEVELS, notes),
        time_limit_s=TIME_LIMIT_S if on_input else min(ALL_CALLS_LIMIT_S, TIME_LIMIT_S * len(tests)),
        memory_limit_bytes=MEMORY_LIMIT_BYTES,
    )


def _example(record: Record, where: str, notes: Notes) -> Problem:
    question = take(record, where, "question", str)
    return Problem(
        problem_id=f"livecodebench/example-{hashlib.sha256(question.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}",
        prompt=question,
        starter=take_or_null(record, where, "sample_code", str, "", notes),
        tests=(),
        solutions=(Solution(take(record, where, "answer", str), True),),
    )


def _cases(cases: Any, where: str) -> list[tuple[str, Record]]:
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise DataError(f"{where} must hold a list of objects")
    return [(f"{where}[{i}]", case) for i, case in enumerate(cases)]


def _private(record: Record, where: str) -> list[tuple[str, Record]]:
    """As JSON, or packed: base64 of zlib of a pickle of JSON. Nothing is unpickled."""
    text, where = take(record, where, "private_test_cases", str), f"{where}: private_test_cases"
    if text.lstrip().startswith("["):
        return _cases(json_value(text, where), where)
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(base64.b64decode(text, validate=True), MAX_UNPACKED_BYTES)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise DataError(f"{where} is neither JSON nor packed as LiveCodeBench packs it ({error})") from None
    if not unpacking.eof:
        raise DataError(f"{where} is cut off, or larger than {MAX_UNPACKED_BYTES:,} bytes")
    return _cases(json_value(text_in(data, where), where), where)


def _test(case: Record, name: Any, where: str) -> Test:
    kind, given, right = (take(case, where, key, str) for key in ("testtype", "input", "output"))
    if kind == "stdin":
        return IOTest(given, right)
    if kind != "functional":
        raise DataError(f"{where}: field 'testtype' must be stdin or functional, found {kind!r}")
    if not isinstance(name, str):
        raise DataError(f"{where} is of a function, and metadata has no 'func_name'")
    args = [json_value(line, f"{where}: input") for line in given.split("\n")]
    return call_test(name, args, json_value(right, f"{where}: output"), EQUAL, where)


def assemble(problem: Problem, completion: str) -> str:
    """The program after the imports that it may take as done."""
    return PREAMBLE + completion


def prompt(problem: Problem) -> str:
    """The question and the code to start with as a comment."""
    parts = [unix_newlines(text).strip() for text in (problem.prompt, problem.starter)]
    return as_comment(replace(problem, prompt="\n\n".join(part for part in parts if part)))


SYSTEM = (
    "You are an expert Python programmer. You will be given a question (problem specification) and will generate a correct "
    "Python program that matches the specification and passes all tests."
)
_WITH_STARTER = (
    "You will use the following starter code to write the solution to the problem and enclose your code within delimiters."
)
_WITHOUT_STARTER = (
    "Read the inputs from stdin solve the problem and write the answer to stdout (do not directly test on the sample inputs). "
    "Enclose your code within delimiters as follows. Ensure that when the python program runs, it reads the inputs, runs the "
    "algorithm and writes output to STDOUT."
)


def message(problem: Problem) -> str:
    """What the user says to a chat model."""
    form, code = (_WITH_STARTER, problem.starter) if problem.starter else (_WITHOUT_STARTER, "# YOUR CODE HERE")
    return (
        f"### Question:\n{problem.prompt}\n\n### Format: {form}\n```python\n{code}\n```\n\n"
        "### Answer: (use the provided format with backticks)\n\n"
    )


def before_answer(problem: Problem) -> str:
    """What a base model goes on with."""
    starter = f"### Starter Code\n{problem.starter}\n\n" if problem.starter else ""
    return f"### Question\n{problem.prompt}\n\n{starter}### Answer\n\n"


def last_fenced(completion: str) -> str:
    """The lines between the last two lines with a fence; nothing where there are no two (lcb_runner, extraction_utils.py)."""
    lines = completion.split("\n")
    fences = [number for number, line in enumerate(lines) if "```" in line]
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) > 1 else ""


def worked_answer(shot: Shot) -> str:
    """The example's code, as its record has it."""
    return shot.problem.solutions[0].code


PLAIN = PromptFormat("plain", "the statement as a comment", prompt)
CHAT = PromptFormat(
    "lcb-chat",
    "LiveCodeBench, lcb_runner/prompts/code_generation.py (OpenAIChat, LLaMa3) and utils/extraction_utils.py",
    message,
    stop=("###",),
    max_new_tokens=2000,
    assemble=lambda problem, completion: assemble(problem, last_fenced(completion)),
    system=SYSTEM,
    needs_chat=True,
)
BASE = PromptFormat(
    "lcb-base",
    "LiveCodeBench, lcb_runner/prompts/code_generation.py (GenericBase) and utils/extraction_utils.py",
    before_answer,
    stop=("###",),
    max_new_tokens=2000,
    answer=worked_answer,
    between="\n\n",
    num_shots=1,
    kind=lambda problem: "a method" if problem.starter else "a program",
    assemble=lambda problem, completion: assemble(problem, completion.strip()),
)
TASKSET = TaskSet(
    name="livecodebench",
    description="LiveCodeBench: dated contest problems, on standard input or as methods, with public and private tests",
    citation="Jain et al. 2024, arXiv 2403.07974; LiveCodeBench, lcb_runner/evaluation/testing_util.py",
    read=to_problem,
    prompt=prompt,
    assemble=assemble,
    formats=(PLAIN, CHAT, BASE),
    has_own_limits=True,
    packages=("numpy",),
    checker="lines",
    not_for_training="it is a test set, and has no solutions",
).asked(PLAIN)
