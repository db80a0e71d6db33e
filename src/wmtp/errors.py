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
