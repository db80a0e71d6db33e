"""Answers judged as lm-evaluation-harness' two filters read them."""

import pytest

from tests.unit.tasksets.records import lines
from wmtp.errors import DataError
from wmtp.tasksets import load_problems
from wmtp.tasksets.gsm8k import judge, plain_number
from wmtp.types import IOTest, Problem


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("2 + 3 = 5\n#### 5", True, True),
        ("so it is #### 1,005.", False, False),
        ("#### 5\n\nQuestion 2: 7 + 1 = 8", True, False),
        ("#### 5\nQuestion: 7 + 1 = ?\n#### 8", True, True),
        ("The answer is 5.", False, True),
        ("It costs $5.00", False, True),
        ("no idea", False, False),
        ("#### five", False, False),
        ("#### -5", False, False),
    ],
)
def test_strict_and_flexible(text, strict, flexible):
    problem = Problem("gsm8k/0", "?", (IOTest("", "5"),))
    assert judge(problem, text) == {"passed": strict, "flexible": flexible}


def test_plain_number():
    assert [plain_number(text) for text in ("$1,234.", "7.0", "0.50", "-3", "abc")] == ["1234", "7", "0.5", "-3", "abc"]


def test_gsm8k_answer_is_the_number_after_the_mark(tmp_path):
    path = lines(tmp_path / "g.jsonl", {"question": "How many?", "answer": "600*2=<<600*2=1200>>1200\n#### 1,200"})
    (problem,) = load_problems("gsm8k", path)
    assert problem.tests == (IOTest("", "1200"),) and problem.prompt == "How many?"
    with pytest.raises(DataError, match=r"g\.jsonl:1: field 'answer' has no number after ####"):
        list(load_problems("gsm8k", lines(tmp_path / "g.jsonl", {"question": "How many?", "answer": "Two."})))
