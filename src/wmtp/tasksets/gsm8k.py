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
STOP = ("\nQuestion:",)
_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


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
    """`passed`: the number after the first `####`; `flexible`: the last number of the text, each before the next question.

    Source: lm-evaluation-harness, tasks/gsm8k (filters strict-match and flexible-extract).
    """
    test = problem.tests[0]
    assert isinstance(test, IOTest)
    expected, answer = plain_number(test.stdout), before_stop(completion, STOP)
    strict, numbers = _STRICT.search(answer), _NUMBER.findall(answer)
    is_strict = strict is not None and plain_number(strict.group(1)) == expected
    return {"passed": is_strict, "flexible": bool(numbers) and plain_number(numbers[-1]) == expected}


def plain_number(text: str) -> str:
    """Without currency signs, thousands separators and a final full stop; `7.0` is `7`."""
    text = re.sub(r"[$,\s]", "", text).rstrip(".")
    try:
        return str(int(text)) if re.fullmatch(r"-?[0-9]+", text) else repr(float(text)).removesuffix(".0")
    except ValueError:
        return text


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
