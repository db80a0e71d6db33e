"""Texts in texts: what `tests/unit/tasksets/test_apps.py` and `test_taco.py` do not show."""

import json

import pytest

from wmtp.errors import DataError
from wmtp.problems.published.apps import level, read_prompt, read_tests, time_limit_s, with_imports
from wmtp.problems.records import Notes
from wmtp.types import AssertTest, IOTest, Problem


def test_lines_and_texts_are_the_same_tests():
    as_lines = {"input_output": json.dumps({"inputs": [["1", "2"]], "outputs": [["3"]]})}
    as_text = {"input_output": json.dumps({"inputs": ["1\n2"], "outputs": ["3"], "fn_name": None})}
    assert read_tests(as_lines, "here", Notes()) == read_tests(as_text, "here", Notes()) == (IOTest("1\n2", "3"),)
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


def passes(answer, right, given=0):
    """Whether a function that returns `answer` passes on a test whose output is `right`."""
    pairs = {"fn_name": "f", "inputs": [[given]], "outputs": [right]}
    (test,) = read_tests({"input_output": json.dumps(pairs)}, "here", Notes())
    try:
        exec(test.code, {"f": answer if callable(answer) else lambda x: answer})
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("answer", "right", "same"),
    [
        (3, 3, True),
        (3, [3], True),
        ([3], [3], True),
        ((1, 2), [1, 2], True),
        ([1, 2], [[1, 2]], True),
        ([(1, 2), (3, 4)], [[[1, 2], [3, 4]]], True),
        ([(1, 2), (3, 4)], [[1, 2], [3, 4]], False),  # in a list of its own, tuples are lists; else they are not
        ([(1, 2), 3], [[[1, 2], 3]], False),
        ({1: "a"}, {"1": "a"}, True),
        ([{1: "a"}], [{"1": "a"}], True),
        ({"a": 1}, {"a": 1}, True),
        ({1: "a"}, {"1": "b"}, False),
        (None, [None], True),
        ("ab", "a", False),
        ([], [], True),
    ],
)
def test_an_answer_is_compared_as_by_apps(answer, right, same):
    assert passes(answer, right) == same


def test_keys_that_json_made_texts_are_numbers_again_where_all_can_be():
    assert passes(lambda x: sum(x), 3, {"1": 0, "2": 0}) and passes(lambda x: sorted(x), ["1", "b"], {"1": 0, "b": 0})


def test_what_a_program_may_take_as_imported_is_imported_where_it_has_a_name_of_it():
    def run(code):
        space = {}
        exec(with_imports(Problem("p", "", ()), code), space)
        return space

    assert run("heap = [3, 1]\nheapify(heap)\ndef f(x: List[int]): return gcd(*x)")["f"]([4, 6]) == 2
    assert run("from __future__ import annotations\ny = Counter('ab'), stdin")["y"][0]["b"] == 1
    assert with_imports(Problem("p", "", ()), "print(1)") == "print(1)"
    assert "numpy" in with_imports(Problem("p", "", ()), "np.ones(3)")


def test_four_seconds_a_test_and_calls_have_theirs_together():
    call = AssertTest("f()")
    assert [time_limit_s(tests) for tests in ((), (IOTest("", ""),) * 9, (call,), (call,) * 3)] == [4.0, 4.0, 4.0, 12.0]
    assert time_limit_s((call,) * 99) == 60.0 and time_limit_s((call,), 100.0) == 100.0
