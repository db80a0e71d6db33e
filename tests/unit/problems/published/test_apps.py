"""Texts in texts: what `tests/unit/tasksets/test_apps.py` and `test_taco.py` do not show."""

import json

import pytest

from wmtp.errors import DataError
from wmtp.problems.published.apps import level, read_prompt, read_tests
from wmtp.problems.records import Notes
from wmtp.types import IOTest


def test_lines_and_texts_are_the_same_tests():
    as_lines = {"input_output": json.dumps({"inputs": [["1", "2"]], "outputs": [["3"]]})}
    as_text = {"input_output": json.dumps({"inputs": ["1\n2\n"], "outputs": ["3\n"], "fn_name": None})}
    assert read_tests(as_lines, "here", Notes()) == read_tests(as_text, "here", Notes()) == (IOTest("1\n2\n", "3\n"),)
    assert read_tests({"input_output": " "}, "here", Notes()) == ()


def test_a_word_is_a_level_and_null_is_none():
    notes = Notes()
    assert [level({"difficulty": word}, "here", {"a": 1, "b": None}, notes) for word in ("a", "b", None)] == [1, None, None]
    assert notes.unknown == {"null_difficulty": 1}
    with pytest.raises(DataError, match="here: field 'difficulty' must be one of a, b, found 'c'"):
        level({"difficulty": "c"}, "here", {"a": 1, "b": 2}, notes)


def test_code_to_start_with_follows_the_question():
    assert read_prompt({"question": "Add.\r\n", "starter_code": "def f():\r\n    "}, "here", Notes()) == "Add.\n\ndef f():"
    assert read_prompt({"question": "Add."}, "here", Notes()) == "Add."
