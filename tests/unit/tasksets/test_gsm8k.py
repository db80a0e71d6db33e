"""Answers judged as lm-evaluation-harness' two filters read them."""

import pytest

from tests.unit.tasksets.records import lines
from wmtp import tasksets
from wmtp.errors import DataError
from wmtp.problems.formats import Shot
from wmtp.tasksets import load_problems
from wmtp.tasksets.gsm8k import chain, compared, judge, judge_chain
from wmtp.types import IOTest, Problem


@pytest.mark.parametrize(
    ("gold", "text", "strict", "flexible"),
    [
        ("5", "2 + 3 = 5\n#### 5", True, True),
        ("5", "so it is #### 1,005.", False, False),
        ("1005", "so it is #### 1,005.", True, True),
        ("5", "#### 5\n\nQuestion 2: 7 + 1 = 8", True, False),
        ("5", "#### 5\nQuestion: 7 + 1 = ?\n#### 8", True, True),
        ("5", "#### 5 Question: 7 + 1 = ?", True, True),
        ("5", "#### 5<|im_end|>\n8", True, True),
        ("5", "#### 5</s>8", True, True),
        ("5", "Question: ?\n#### 5", False, False),
        ("5", "#### 7\n#### 5", False, True),
        ("5", "The answer is 5.", False, True),
        ("5", "It costs $5.", False, True),
        ("5", "It costs $5.00", False, False),
        ("5", "#### 5.0", False, False),
        ("5", "#### 05", False, False),
        ("5", "#### $5", False, True),
        ("5", "####5", False, True),
        ("5", "####  5", False, True),
        ("5", "5..", False, False),
        ("5", "5 ...", False, False),
        ("-3", "#### -3", True, True),
        ("-3", "10 - 13 = -3", False, True),
        ("-3", "10-13", False, False),
        ("0.5", "#### .5", False, False),
        ("5", "no idea", False, False),
        ("5", "#### five", False, False),
        ("5", "#### -5", False, False),
        ("5", "", False, False),
    ],
)
def test_strict_and_flexible(gold, text, strict, flexible):
    problem = Problem("gsm8k/0", "?", (IOTest("", gold),))
    assert judge(problem, text) == {"passed": strict, "flexible": flexible}


def test_numbers_are_compared_as_texts():
    assert [compared(text) for text in ("$1,234.", "7.0", "0.50", "-3", "7..")] == ["1234", "7.0", "0.50", "-3", "7."]


def test_gsm8k_answer_is_the_number_after_the_mark(tmp_path):
    path = lines(tmp_path / "g.jsonl", {"question": "How many?", "answer": "600*2=<<600*2=1200>>1200\n#### 1,200"})
    (problem,) = load_problems("gsm8k", path)
    assert problem.tests == (IOTest("", "1200"),) and problem.prompt == "How many?"
    with pytest.raises(DataError, match=r"g\.jsonl:1: field 'answer' has no number after ####"):
        list(load_problems("gsm8k", lines(tmp_path / "g.jsonl", {"question": "How many?", "answer": "Two."})))


def test_questions_keep_their_blanks_and_examples_are_the_records(tmp_path):
    record = {"question": " How many? ", "answer": "600*2=<<600*2=1200>>1200\nSo 1,200. \n#### 1,200"}
    (problem,) = load_problems("gsm8k", lines(tmp_path / "g.jsonl", record))
    taskset = tasksets.get("gsm8k")
    assert taskset.prompt(problem) == "Question:  How many? \nAnswer:"
    shot = Shot(problem, record)
    assert taskset.format("lm-eval").example(shot) == f"Question:  How many? \nAnswer: {record['answer']}\n\n"
    assert taskset.format("cot").example(shot) == "Q:  How many? \nA: 600*2=1200 So 1,200. The answer is 1,200.\n\n"


def test_the_papers_own_examples_are_targets_and_stand_as_they_are(tmp_path):
    record = {"question": "How many?", "target": "One and one. The answer is 2."}
    (problem,) = load_problems("gsm8k", lines(tmp_path / "g.jsonl", record))
    assert problem.tests == (IOTest("", "2"),) and chain(Shot(problem, record)) == " One and one. The answer is 2."
    with pytest.raises(DataError, match=r"g\.jsonl:1: field 'target' has no number after The answer is"):
        list(load_problems("gsm8k", lines(tmp_path / "g.jsonl", {"question": "How many?", "target": "Two."})))


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("2 and 3. The answer is 5.", True, True),
        ("The answer is 5.\n\nQ: 7 + 1?\nA: The answer is 8.", True, True),
        ("#### 5", False, True),
        ("The answer is 5.</s> 7", True, True),
    ],
)
def test_the_chains_number_stands_after_its_own_words(text, strict, flexible):
    assert judge_chain(Problem("gsm8k/0", "?", (IOTest("", "5"),)), text) == {"passed": strict, "flexible": flexible}


@pytest.mark.parametrize("end", ["</s>", "<|im_end|>", "Question:"])
def test_a_completion_ends_at(end):
    assert judge(Problem("gsm8k/0", "?", (IOTest("", "5"),)), f"#### 5{end} 7") == {"passed": True, "flexible": True}
