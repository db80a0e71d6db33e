"""A model's folder that has its name once it is whole, and never before."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wmtp.errors import ConfigError
from wmtp.files import sync, temporary_sibling


@contextmanager
def new_folder(target: Path, source: Path | None = None) -> Iterator[Path]:
    """A folder to write to, which becomes `target` when the block ends well and is removed when it does not.

    What a kill has left of `target` before is removed, too: who writes to a folder holds a lock on it.

    Args:
        source: what is read meanwhile, a folder that stays as it is.
    Raises:
        ConfigError: `target` is there already, or cannot be there.
    """
    _require_free(target, source)
    temporary = temporary_sibling(target, uuid.uuid4().hex[:12])
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{target}: {error.strerror}: {error.filename}") from None
    held = os.open(temporary, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        _clear_away(target, temporary)
        yield temporary
        for path in temporary.rglob("*"):
            sync(path)
        os.rename(temporary, target)  # over an empty folder, too
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(held)
    sync(target.parent)


def _clear_away(target: Path, own: Path) -> None:
    """Remove the remains of those that were killed while they wrote `target`: nobody holds a lock on them any more."""
    for left in target.parent.glob(temporary_sibling(target, "*").name):
        if left == own or not left.is_dir():
            continue
        descriptor = os.open(left, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except OSError:  # somebody is writing to it
            continue
        finally:
            os.close(descriptor)


def _require_free(target: Path, source: Path | None) -> None:
    if target.is_dir() and any(target.iterdir()):
        raise ConfigError(f"{target} is not empty: name a new folder")
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{target} is a file: name a new folder")
    if source is not None and source.resolve() in target.resolve().parents:
        raise ConfigError(f"{target} is inside of {source}, which stays as it is: name another folder")
