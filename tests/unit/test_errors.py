"""Errors that a user can mend, and what the command line returns for them."""

import inspect

import pytest

from wmtp import errors
from wmtp.errors import ConfigError, DataError, ModelError, PreemptedError, WmtpError, described, first_line


def test_everything_that_a_user_can_mend_is_caught_as_one_and_input_is_told_from_failure():
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert len(kinds) == 9 and all(issubclass(kind, WmtpError) and kind.__doc__ for kind in kinds)
    assert {kind for kind in kinds if kind.exit_code == 2} == {ConfigError, DataError, ModelError}
    assert {kind for kind in kinds if kind.exit_code not in (1, 2)} == {PreemptedError}
    assert not issubclass(WmtpError, ValueError), "a bad argument is a bug and keeps its traceback"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("wrong\nand a page of why", "wrong"),
        ("\n  \n  after blank lines\n", "after blank lines"),
        ("Cannot do this:\n  because\nof that", "Cannot do this: because"),
        ("only announced:", "only announced:"),
        ("", "OSError"),
        (" \n ", "OSError"),
    ],
)
def test_of_what_a_library_says_the_first_line_that_says_something_is_told(said, line):
    assert first_line(OSError(said)) == line
    assert described(OSError(said)) == f"OSError: {line}"
