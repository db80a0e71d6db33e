"""A model's folder that has its name once it is whole, and never before."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wmtp.errors import ConfigError
from wmtp.files import sync, temporary_sibling, usual_mode


@contextmanager
def new_folder(target: Path, source: Path | None = None, *, num_bytes: int = 0) -> Iterator[Path]:
    """A folder to write to, which becomes `target` when the block ends well, and is removed when it does not, with the parents
    that were made for it.

    What a kill has left of `target` before is removed, too: who writes to a folder holds a lock on it.

    Args:
        source: what is read meanwhile, a folder that stays as it is. num_bytes: how much is to be written, as far as is known.
    Raises:
        ConfigError: `target` is there already, or cannot be there, or there is no room for it.
    """
    target = Path(os.path.realpath(target))  # of a link, where it leads
    _require_free(target, source)
    temporary = temporary_sibling(target, uuid.uuid4().hex[:12])
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        _remove_empty(made)
        raise ConfigError(f"{target}: {error.strerror}: {error.filename}") from None
    held = os.open(temporary, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        _clear_away(target, temporary)
        room = shutil.disk_usage(temporary).free
        if room < num_bytes:
            raise ConfigError(f"{target}: {num_bytes:,} bytes are to be written, and there is room for {room:,}")
        yield temporary
        mode = usual_mode(temporary)
        for path in temporary.rglob("*"):
            if path.is_file():
                path.chmod(mode)
            sync(path)
        _give_its_name(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        _remove_empty(made)
        raise
    finally:
        os.close(held)
    sync(target.parent)


def _remove_empty(folders: Iterable[Path]) -> None:
    """Those of them, in this order, that are there and hold nothing."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _give_its_name(temporary: Path, target: Path) -> None:
    """Over an empty folder, too."""
    try:
        os.rename(temporary, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise ConfigError(f"{target} was written by another process meanwhile: name a new folder") from None


def _clear_away(target: Path, own: Path) -> None:
    """Remove the remains of those that were killed while they wrote `target`: nobody holds a lock on them any more."""
    for left in target.parent.glob(temporary_sibling(Path(glob.escape(target.name)), "*").name):
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
    if target.is_symlink():
        raise ConfigError(f"{target} is a link that leads to itself: name a new folder")
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{target} is a file: name a new folder")
    if target.is_mount():
        raise ConfigError(f"{target} is where a disk is mounted, which has its name already: name a new folder in it")
    if source is not None and source.resolve() in target.resolve().parents:
        raise ConfigError(f"{target} is inside of {source}, which stays as it is: name another folder")
