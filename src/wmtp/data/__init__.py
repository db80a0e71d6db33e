"""Datasets: problems and their solutions, the embedded generator, token tables and the loader."""

from typing import Any

__all__ = ["load_problems"]


def __getattr__(name: str) -> Any:
    """`wmtp.data.load_problems`, imported when it is asked for: stages that only read tables do without it."""
    if name == "load_problems":
        from wmtp.data.problems import load_problems

        return load_problems
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
