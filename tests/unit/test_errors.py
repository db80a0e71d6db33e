"""Errors that a user can mend, and what the command line returns for them."""

import inspect

from wmtp import errors
from wmtp.errors import ConfigError, DataError, ModelError, PreemptedError, WmtpError


def test_everything_that_a_user_can_mend_is_caught_as_one_and_input_is_told_from_failure():
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert len(kinds) == 9 and all(issubclass(kind, WmtpError) and kind.__doc__ for kind in kinds)
    assert {kind for kind in kinds if kind.exit_code == 2} == {ConfigError, DataError, ModelError}
    assert {kind for kind in kinds if kind.exit_code not in (1, 2)} == {PreemptedError}
    assert not issubclass(WmtpError, ValueError), "a bad argument is a bug and keeps its traceback"
