"""What a flow run will do: compose params.yaml, and hold the workspace while the run lasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from wmtp.config import Config, compose, write_params
from wmtp.errors import ConfigError


@contextmanager
def workspace(root: Path, config: Config) -> Iterator[bool]:
    """Write params.yaml and keep other flow runs out; yields whether params.yaml changed.

    Raises:
        ConfigError: another flow run is at work here.
    """
    lock = FileLock(root / ".wmtp" / "workspace.lock", timeout=1)
    (root / ".wmtp").mkdir(exist_ok=True)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"another flow run is at work in {root}: wait for it, or cancel it, or use a clone of your own") from None
    try:
        yield write_params(config, root / "params.yaml")
    finally:
        lock.release()


def resolve(
    root: Path, profile: str, arms: Sequence[str] | None, seeds: Sequence[int] | None, overrides: Sequence[str]
) -> Config:
    """The checked configuration of a flow run's parameters (see `wmtp.config.compose`)."""
    return compose(root, profile, arms=arms or None, seeds=seeds or None, overrides=overrides)
