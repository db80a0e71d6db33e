"""GSM8K (Cobbe et al. 2021, arXiv 2110.14168): school mathematics in words, the answer after `####`."""

from __future__ import annotations

import hashlib
import re

from wmtp.errors import DataError
from wmtp.problems.files import LeftOut
from wmtp.problems.records import Record, take, unix_newlines
from wmtp.problems.render import before_stop
from wmtp.tasksets.base import Grades, TaskSet
from wmtp.types import IOTest, Problem, Solution

ANSWER_MARK = "####"
STOP = ("Question:", "</s>", "<|im_end|>")
_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_IGNORED = re.compile(r"[,$]")


def to_problem(record: Record, where: str, left_out: LeftOut) -> Problem:
    """The worked answer is the solution; the number after `####` (without thousands separators) is the test's `stdout`.

    The dataset has no ids: the question's digest is one.
    """
    question = unix_newlines(take(record, where, "question", str)).strip()
    answer = unix_newlines(take(record, where, "answer", str)).strip()
    _, mark, number = answer.rpartition(ANSWER_MARK)
    if not mark or not number.strip():
        raise DataError(f"{where}: field 'answer' has no number after {ANSWER_MARK}")
    return Problem(
        problem_id=f"gsm8k/{hashlib.sha256(question.encode()).hexdigest()[:12]}",
        prompt=question,
        tests=(IOTest("", number.strip().replace(",", "")),),
        solutions=(Solution(answer, True),),
    )


def prompt(problem: Problem) -> str:
    """The question, and the word that asks for an answer."""
    return f"Question: {problem.prompt}\nAnswer:\n"


def judge(problem: Problem, completion: str) -> Grades:
    """`passed`: what stands after the first `#### `; `flexible`: the last number; both of the text before `STOP`.

    They are compared as texts, so `18.0` and `018` are not `18`. Source: lm-evaluation-harness, tasks/gsm8k/gsm8k.yaml (filters
    strict-match and flexible-extract, `until`, and the regexes that its exact_match ignores).
    """
    test = problem.tests[0]
    assert isinstance(test, IOTest)
    expected, answer = compared(test.stdout), before_stop(completion, STOP)
    strict, numbers = _STRICT.search(answer), _NUMBER.findall(answer)
    is_strict = strict is not None and compared(strict.group(1)) == expected
    return {"passed": is_strict, "flexible": bool(numbers) and compared(numbers[-1]) == expected}


def compared(number: str) -> str:
    """What is compared of a number: its text without commas, dollar signs and one full stop at its end."""
    return _IGNORED.sub("", number).removesuffix(".")


TASKSET = TaskSet(
    name="gsm8k",
    description="GSM8K: school mathematics in words, judged by the number after ####",
    citation="Cobbe et al. 2021, arXiv 2110.14168; filters of lm-evaluation-harness, tasks/gsm8k",
    read=to_problem,
    prompt=prompt,
    stop=STOP,
    judge=judge,
    has_ids=False,
    not_for_training="its answers are texts, and sampling labels solutions by running them",
)
