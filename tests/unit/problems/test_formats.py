"""What a prompt is made of, letter by letter."""

import pytest

from wmtp.problems.formats import PromptFormat, Shot, evalplus
from wmtp.types import Problem

ASKED = PromptFormat(
    "riddles", "nobody", lambda problem: f"{problem.prompt}?", answer=lambda shot: f" {shot.record['word']}", between="\n--\n"
)


def shot(question, word):
    return Shot(Problem(question, question, ()), {"word": word})


def test_examples_stand_before_the_question_with_their_answers_as_the_records_have_them():
    problem = Problem("p", "What ", ())
    assert ASKED.prompt(problem) == "What ?"
    assert ASKED.prompt(problem, [shot("a", "b \r\n"), shot("c", "d")]) == "a? b \r\n\n--\nc? d\n--\nWhat ?"


def test_a_format_without_examples_has_none():
    with pytest.raises(AssertionError, match="plain has no examples"):
        PromptFormat("plain", "nobody", lambda problem: "").prompt(Problem("p", "", ()), [shot("a", "b")])


def test_evalplus_asks_a_base_model_with_the_code_alone_and_a_chat_in_its_own_words():
    form = evalplus(lambda problem: problem.prompt, ("\ndef ",))
    problem = Problem("p", '\ndef f():\n    """One."""\n\n', ())
    code = 'def f():\n    """One."""'
    assert form.prompt(problem) == code + "\n" and form.sanitizes
    assert form.assemble(problem, "\treturn 1") == code + "\n    return 1"
    assert form.in_chat.prompt(problem).endswith(f":\n```\n{code}\n```\n")
    assert form.in_chat.prefill.endswith(":\n```python\n") and form.in_chat.assemble(problem, "x\ty") == "x    y"
    assert "\ndef " in form.stop and "\ndef " not in form.in_chat.stop and "\n```\n" in form.in_chat.stop
