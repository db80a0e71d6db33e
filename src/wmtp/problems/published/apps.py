"""What APPS and TACO have in common: JSON inside of texts, and tests of a program or of a function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wmtp.errors import DataError
from wmtp.problems.published.calls import call_test
from wmtp.problems.records import Notes, Record, json_value, take, take_or_null, take_strings, unix_newlines
from wmtp.types import IOTest, Solution, Test


def read_tests(record: Record, where: str, notes: Notes) -> tuple[Test, ...]:
    """`input_output`: inputs and outputs, of the function `fn_name` where there is one; an empty text is no tests."""
    text = take_or_null(record, where, "input_output", str, "", notes)
    if not text.strip():
        return ()
    here = f"{where}: input_output"
    pairs = json_value(text, here)
    if not isinstance(pairs, dict):
        raise DataError(f"{here} must hold an object, found {type(pairs).__name__}")
    inputs, outputs = take(pairs, here, "inputs", list, []), take(pairs, here, "outputs", list, [])
    if len(inputs) != len(outputs):
        raise DataError(f"{here} has {len(inputs)} inputs but {len(outputs)} outputs")
    name = take(pairs, here, "fn_name", str, None) if pairs.get("fn_name") is not None else None
    tests: list[Test] = []
    for i, (given, right) in enumerate(zip(inputs, outputs, strict=True)):
        at = f"{here}: inputs[{i}]"
        if name is None:
            tests.append(IOTest(_text(given, at), _text(right, f"{here}: outputs[{i}]")))
        elif isinstance(given, list):
            wrapped = [right[0]] if isinstance(right, list) and right else []  # an answer may stand in a list of its own
            tests.append(call_test(name, given, [right, *wrapped], at))
        else:
            raise DataError(f"{at} must be a list of arguments, found {type(given).__name__}")
    return tuple(tests)


def _text(value: Any, where: str) -> str:
    """A text, which may stand as the list of its lines."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(take_strings({"lines": value}, where, "lines")) + "\n"
    raise DataError(f"{where} must be a text or a list of lines, found {type(value).__name__}")


def read_solutions(record: Record, where: str, notes: Notes) -> tuple[Solution, ...]:
    """`solutions`: a list of right ones; an empty text is none."""
    text = take_or_null(record, where, "solutions", str, "", notes)
    if not text.strip():
        return ()
    codes = take_strings({"solutions": json_value(text, f"{where}: solutions")}, where, "solutions")
    return tuple(Solution(unix_newlines(code).strip("\n"), True) for code in codes)


def read_prompt(record: Record, where: str, notes: Notes) -> str:
    """The question, and the code to start with where there is some."""
    question = unix_newlines(take(record, where, "question", str)).strip()
    starter = unix_newlines(take_or_null(record, where, "starter_code", str, "", notes)).strip()
    return f"{question}\n\n{starter}" if starter else question


def level(record: Record, where: str, levels: Mapping[str, int | None], notes: Notes) -> int | None:
    """`difficulty`, a word, as a number."""
    word = take_or_null(record, where, "difficulty", str, None, notes)
    if word is not None and word not in levels:
        raise DataError(f"{where}: field 'difficulty' must be one of {', '.join(levels)}, found {word!r}")
    return levels[word] if word is not None else None
