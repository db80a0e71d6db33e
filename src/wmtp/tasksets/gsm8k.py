"""GSM8K (Cobbe et al. 2021, arXiv 2110.14168): school mathematics in words, the answer after `####`."""

from __future__ import annotations

import hashlib
import re

from wmtp.errors import DataError
from wmtp.problems.formats import Grades, PromptFormat, Shot
from wmtp.problems.records import Notes, Record, take, unix_newlines
from wmtp.problems.render import before_stop
from wmtp.tasksets.base import TaskSet
from wmtp.types import IOTest, Problem, Solution

ANSWER_MARK = "####"
ANSWER_OF_CHAIN = "The answer is"
STOP = ("Question:", "</s>", "<|im_end|>")
STOP_OF_CHAIN = ("Q:", "</s>", "<|im_end|>")
_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_STRICT_OF_CHAIN = re.compile(r"The answer is (-?[0-9.,]+).")
_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_IGNORED = re.compile(r"[,$]")


def to_problem(record: Record, where: str, notes: Notes) -> Problem:
    """The worked answer is the solution, after a blank as in every format; the number after `####` (without thousands
    separators) is the test's `stdout`.

    A record with a `target` in place of the `answer` is a solved example in the words of the chain-of-thought prompt, as
    lm-evaluation-harness lists them. The dataset has no ids: the question's digest is one.
    """
    question = take(record, where, "question", str)
    name = "target" if "target" in record and "answer" not in record else "answer"
    mark = ANSWER_OF_CHAIN if name == "target" else ANSWER_MARK
    answer = unix_newlines(take(record, where, name, str)).strip()
    _, found, number = answer.rpartition(mark)
    if not found or not number.strip():
        raise DataError(f"{where}: field {name!r} has no number after {mark}")
    return Problem(
        problem_id=f"gsm8k/{hashlib.sha256(unix_newlines(question).strip().encode()).hexdigest()[:12]}",
        prompt=question,
        tests=(IOTest("", number.strip().removesuffix(".").replace(",", "")),),
        solutions=(Solution(f" {answer}", True),),
    )


def question(problem: Problem) -> str:
    """The question, and the word that asks for an answer."""
    return f"Question: {problem.prompt}\nAnswer:"


def worked_answer(shot: Shot) -> str:
    """As the record has it."""
    return f" {shot.record['answer']}" if "answer" in shot.record else f" {shot.record['target']}"


def question_of_chain(problem: Problem) -> str:
    """The same in two letters."""
    return f"Q: {problem.prompt}\nA:"


def chain(shot: Shot) -> str:
    """The steps in one paragraph, without the calculator's marks, and the number in the paper's words."""
    if "answer" not in shot.record:
        return f" {shot.record['target']}"
    steps, _, number = str(shot.record["answer"]).rpartition(ANSWER_MARK)
    lines = re.sub(r"<<[^<>]*>>", "", steps).split("\n")
    text = " ".join(line.strip() for line in lines if line.strip())
    return f" {text} {ANSWER_OF_CHAIN} {number.strip()}."


def judge(problem: Problem, completion: str) -> Grades:
    """`passed`: what stands after the first `#### `; `flexible`: the last number; both of the text before `STOP`.

    They are compared as texts, so `18.0` and `018` are not `18`. Source: lm-evaluation-harness, tasks/gsm8k/gsm8k.yaml (filters
    strict-match and flexible-extract, `until`, and the regexes that its exact_match ignores).
    """
    return _grades(problem, before_stop(completion, STOP), _STRICT)


def judge_chain(problem: Problem, completion: str) -> Grades:
    """The same with the number after the first `The answer is`, as gsm8k_cot has it."""
    return _grades(problem, before_stop(completion, STOP_OF_CHAIN), _STRICT_OF_CHAIN)


def _grades(problem: Problem, answer: str, pattern: re.Pattern[str]) -> Grades:
    test = problem.tests[0]
    assert isinstance(test, IOTest)
    expected = compared(test.stdout)
    strict, numbers = pattern.search(answer), _NUMBER.findall(answer)
    is_strict = strict is not None and compared(strict.group(1)) == expected
    return {"passed": is_strict, "flexible": bool(numbers) and compared(numbers[-1]) == expected}


def compared(number: str) -> str:
    """What is compared of a number: its text without commas, dollar signs and one full stop at its end."""
    return _IGNORED.sub("", number).removesuffix(".")


_OF_TRAIN = (
    "gsm8k/73429d562982",
    "gsm8k/3f23a7d4df7c",
    "gsm8k/9eea4e53dec0",
    "gsm8k/4ed90b091532",
    "gsm8k/d38bacc8724a",
    "gsm8k/16f83fb4320c",
    "gsm8k/cf2595dad6a3",
    "gsm8k/99c93669d063",
)
"""The first eight of the train split."""
_OF_THE_PAPER = (
    "gsm8k/67356bef67d1",
    "gsm8k/ee6875598424",
    "gsm8k/bb9a36795907",
    "gsm8k/f77ed7a26a0a",
    "gsm8k/1abd5043a4e8",
    "gsm8k/50873fdfee23",
    "gsm8k/b7a159558129",
    "gsm8k/ea1c704ddc1b",
)
"""The eight that Wei et al. wrote for their prompt, in its order; they are no problems of the dataset."""

HARNESS = PromptFormat(
    "lm-eval",
    "lm-evaluation-harness, tasks/gsm8k/gsm8k.yaml",
    question,
    stop=STOP,
    max_new_tokens=256,
    answer=worked_answer,
    between="\n\n",
    num_shots=5,
    shot_ids=(_OF_TRAIN,),
)
CHAIN = PromptFormat(
    "cot",
    "Wei et al. 2022, arXiv 2201.11903, appendix G; lm-evaluation-harness, tasks/gsm8k/gsm8k-cot.yaml",
    question_of_chain,
    stop=STOP_OF_CHAIN,
    max_new_tokens=256,
    answer=chain,
    between="\n\n",
    num_shots=8,
    shot_ids=(_OF_THE_PAPER, _OF_TRAIN),
    judge=judge_chain,
)
TASKSET = TaskSet(
    name="gsm8k",
    description="GSM8K: school mathematics in words, judged by the number after ####",
    citation="Cobbe et al. 2021, arXiv 2110.14168; filters of lm-evaluation-harness, tasks/gsm8k",
    read=to_problem,
    formats=(HARNESS, CHAIN),
    judge=judge,
    has_ids=False,
    trusted_only="its answers are texts, and are all right",
).asked(HARNESS)
