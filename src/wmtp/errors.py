"""Errors that a user can mend. Everything else is a bug and keeps its traceback."""


class WmtpError(Exception):
    """Base class. `exit_code` is what the command line returns for it."""

    exit_code = 1


class ConfigError(WmtpError):
    """A key, type, range, name or path in the configuration is wrong."""

    exit_code = 2


class DataError(WmtpError):
    """A dataset, a record or a derived column is not what it must be."""

    exit_code = 2


class ModelError(WmtpError):
    """A model that was named is not there or not whole: its weights, its tokenizer or its settings."""

    exit_code = 2


class CheckpointError(WmtpError):
    """A checkpoint cannot be written, read or matched to the model."""


class EvaluationError(WmtpError):
    """An evaluation could not score everything it had to score."""


class NumericsError(WmtpError):
    """NaN, Inf or a broken weight invariant."""


class PreemptedError(WmtpError):
    """A stage was told to make room: what it had is kept, and it can go on from there. No failure.

    `exit_code` is the BSD's for what may be tried again. `step`: the optimizer step of the checkpoint it left, if it left one.
    """

    exit_code = 75

    def __init__(self, step: int | None, stage: str = "", then: str = "", *, said: str | None = None) -> None:
        what = "preempted" if step is None else f"preempted at step {step}"
        super().__init__(said or (f"{stage}: " if stage else "") + what + then)
        self.step = step


class LaunchError(WmtpError):
    """A stage's processes could not be started, or one of them failed."""


def first_line(error: object) -> str:
    """Of what somebody's library says, which may be a page or nothing: the first line that says something.

    One that only announces the next is no end. The type's name where nothing is said.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    count = next((number for number, line in enumerate(lines, start=1) if not line.endswith(":")), len(lines))
    return " ".join(lines[:count]) or type(error).__name__


def described(error: Exception) -> str:
    """What an exception is and says, in one line."""
    return f"{type(error).__name__}: {first_line(error)}"
