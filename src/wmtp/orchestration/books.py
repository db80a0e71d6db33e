"""DVC's repository, opened once for many questions. DVC is imported inside the functions (0.3 s).

Reading dvc.yaml, dvc.lock and params.yaml takes DVC a second for some hundred stages. So what was read is kept for as long as
these files stand as they are; whether data and outputs changed is looked up anew for every question.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from wmtp.errors import ConfigError
from wmtp.orchestration.dvc_repair import drop_broken_rwlock, mend

PARAMS = "params.yaml"

_T = TypeVar("_T")

_BUSY_SECONDS, _PATIENCE = 0.5, 10.0
"""From one try to the next while DVC is in use, and after how long somebody who waits is told for what."""

_BUSY = re.compile(r"'(.+)' is busy, it is being blocked by:\n")
_BLOCKER = re.compile(r"^ *\(PID (\d+)\): (?:(?:\S*/dvc/__main__\.py|(?:\S*/)?dvc) +)?(.*)$", re.MULTILINE)
_READ = ("dvc.yaml", "dvc.lock", PARAMS, ".dvcignore", ".dvc/config", ".dvc/config.local")
_guard = threading.RLock()


@dataclass(frozen=True)
class _Opened:
    """A repository as it was read: `stamps` of the files that decide what is in it, `loaded` what params.yaml says.

    `is_apart`: its locks are in a temporary folder.
    """

    root: Path
    params: str | None
    is_apart: bool
    stamps: tuple[Any, ...]
    repo: Any
    loaded: dict[int, tuple[Any, Any]] = field(default_factory=dict)


_kept: list[_Opened] = []
"""At most one: who asks, asks about one workspace."""


def ask(root: Path, question: Callable[[Any], _T], *, params: str | None = None, is_look: bool = False) -> _T:
    """Put a question to DVC under its lock (others write dvc.lock in place), waiting while a file it needs is in use. Whoever
    waits long is told for what, on standard error.

    Args:
        question: gets the `Repo`, and leaves it as it was.
        params: answer as if params.yaml held this text.
        is_look: leave the workspace as it is, also where DVC has not been used yet; so it is with `params`.
    Raises:
        ConfigError: DVC cannot read the pipeline, and it is not for what a kill left (see `dvc_repair`).
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.logger import set_loggers_level

    said, began = "", time.monotonic()
    with _guard, set_loggers_level(logging.ERROR):  # it warns of folders that are empty, and says what it would restore
        while True:
            try:
                opened = _open(root, params, is_apart=(is_look or params is not None) and not _has_place(root))
                with opened.repo.lock:
                    if opened.stamps != _stamps(root):  # it was written while we waited
                        _forget()
                        continue
                    with _params_read_once(root / PARAMS, opened.loaded):
                        return question(opened.repo)
            except LockError as error:
                if time.monotonic() - began > _PATIENCE and said != (said := who_uses(error)):
                    print(f"waiting: {said}", file=sys.stderr, flush=True)
                time.sleep(_BUSY_SECONDS)
            except DvcException as error:
                _forget()
                if not mend(root, error):
                    raise ConfigError(f"DVC cannot read the pipeline: {error}") from error


def who_uses(error: Exception) -> str:
    """What a DVC `LockError` is about: a file of the workspace that a process uses, or the books themselves."""
    busy, blockers = _BUSY.search(str(error)), _BLOCKER.findall(str(error))
    if busy is None or not blockers:
        return "another DVC process has the workspace's lock, .dvc/tmp/lock"
    told = {number: command.replace("--wait-for-lock ", "").replace("--single-item ", "") for number, command in blockers}
    users = " and ".join(f"process {number} (dvc {command})" for number, command in told.items())
    return f"{os.path.relpath(busy[1])} is in use by {users}"


def put_in_order(root: Path) -> None:
    """After a kill: what it left half written is put out of the way, so that plain `dvc` goes on too.

    Raises:
        ConfigError: as in `ask`.
    """
    drop_broken_rwlock(root)
    ask(root, lambda repo: repo.index.stages)


@contextmanager
def _params_read_once(path: Path, found: dict[int, tuple[Any, Any]]) -> Iterator[None]:
    """DVC parses params.yaml anew for every stage, whose number it grows with: here once while the file stands as it is.

    Args:
        found: the file systems that it was read from, by their ids, and what it said.
    """
    from dvc.utils.serialize import LOADERS

    load = LOADERS[path.suffix]

    def once(name: str, fs: Any = None, **how: Any) -> Any:
        if os.path.abspath(name) != str(path) or how:
            return load(name, fs=fs, **how)
        if id(fs) not in found:
            found[id(fs)] = fs, load(name, fs=fs)
        return found[id(fs)][1]

    LOADERS[path.suffix] = once
    try:
        yield
    finally:
        LOADERS[path.suffix] = load


def _has_place(root: Path) -> bool:
    """Whether DVC's locks can be where others see them. Where that folder is not there yet, nobody is at work."""
    return os.access(root / ".dvc" / "tmp", os.W_OK)


def _open(root: Path, params: str | None, *, is_apart: bool) -> _Opened:
    from dvc.repo import Repo

    stamps, wanted = _stamps(root), (root, params, is_apart)
    if _kept and (_kept[0].root, _kept[0].params, _kept[0].is_apart, _kept[0].stamps) != (*wanted, stamps):
        _forget()
    if not _kept:
        proposed = {} if params is None else {"fs": _with(root / PARAMS, params)}
        _kept.append(_Opened(*wanted, stamps, (_apart() if is_apart else Repo)(str(root), **proposed)))
    return _kept[0]


def _apart() -> Any:
    """A kind of repository that puts nothing into the workspace: for a look."""
    from dvc.repo import Repo

    class Apart(Repo):
        _btime = None  # no file of the workspace's to take it from: hashes are remembered by the workspace's path

        @cached_property
        def tmp_dir(self) -> str:
            self.folder = tempfile.TemporaryDirectory(prefix="wmtp-dvc-")
            return self.folder.name

        def _ignore(self) -> None:
            """There is nothing for git to ignore."""

        def close(self) -> None:
            super().close()
            self.folder.cleanup()

    return Apart


def _forget() -> None:
    for opened in _kept:
        opened.repo.close()
    _kept.clear()


def _stamps(root: Path) -> tuple[Any, ...]:
    """What changes when a file is written, or replaced."""
    return tuple(_stamp(root / name) for name in _READ)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _with(path: Path, text: str) -> Any:
    """The local file system, but for one file that has this text."""
    from dvc.fs import LocalFileSystem

    class Proposed(LocalFileSystem):
        def open(self, file: Any, mode: str = "r", **how: Any) -> Any:
            if os.path.abspath(file) != str(path):
                return super().open(file, mode, **how)
            return io.BytesIO(text.encode()) if "b" in mode else io.StringIO(text)

        def exists(self, file: Any, *rest: Any, **how: Any) -> Any:
            is_it = isinstance(file, str) and os.path.abspath(file) == str(path)
            return is_it or super().exists(file, *rest, **how)

        def isfile(self, file: Any) -> bool:
            return os.path.abspath(file) == str(path) or bool(super().isfile(file))

    return Proposed()
