"""Answers judged as lm-evaluation-harness' two filters read them."""

import pytest

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
