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


class LaunchError(WmtpError):
    """A stage's processes could not be started, or one of them failed."""
