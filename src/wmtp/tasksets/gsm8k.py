"""GSM8K (Cobbe et al. 2021, arXiv 2110.14168): school mathematics in words, the answer after `####`."""

from __future__ import annotations

import hashlib

from wmtp.errors import DataError
from wmtp.problems.files import Counts
from wmtp.problems.records import Record, take, unix_newlines
from wmtp.types import IOTest, Problem, Solution

ANSWER_MARK = "####"


def to_problem(record: Record, where: str, counts: Counts | None = None) -> Problem:
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
        prompt=f"Question: {question}\nAnswer:\n",
        tests=(IOTest("", number.strip().replace(",", "")),),
        solutions=(Solution(answer, True),),
    )
