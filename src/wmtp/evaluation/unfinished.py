"""Where an evaluation by command works until its results are there: `.OUT.tmp-run` beside OUT, for one run at a time.

It holds the journal and what that is a journal of. Only the same evaluation goes on with it; anything else is refused, and
what is different is named.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from wmtp.errors import ConfigError
from wmtp.evaluation.results import RESULT_FILES
from wmtp.evaluation.run import SampleJournal
from wmtp.files import parse_json, temporary_sibling, whole_file, write_json

_IDENTITY, _LOCK, _RESULTS = "identity.json", "lock", "results"
_SHOWN = 4

Identity = Mapping[str, Any]
"""What decides completions and verdicts, by names that a person understands; contents as `sha256:...`."""


class Unfinished:
    """The folder of one run into `out`, and the lock that keeps a second one away. A context.

    Args:
        out: where the results will be; a folder that holds nothing but an evaluation's results, or nothing yet.
    Raises:
        ConfigError: `out` is a file, or holds other things, or cannot be written beside; or another run is at it.
    """

    def __init__(self, out: Path) -> None:
        self.out, self._name = Path(os.path.realpath(out)), out
        if not self.out.name:
            raise ConfigError(f"--out {out} is no folder of its own: name another")
        self.folder = temporary_sibling(self.out, "run")
        try:
            _require_ours(self.out, out)
            self._lock = self._take_lock()
        except OSError as error:
            raise ConfigError(f"--out {out}: {error.strerror}: {error.filename}") from None

    def journal(self, identity: Identity) -> SampleJournal:
        """The samples that are scored already, and where to add more.

        Raises:
            ConfigError: they are of something else.
        """
        self._require_same(identity, sorted({*self._identity(), *identity}))
        write_json(self.folder / _IDENTITY, dict(identity))
        return SampleJournal(self.folder)

    def require_same(self, part: Identity) -> None:
        """`journal`'s refusal for what is known before the model is loaded, which takes long."""
        self._require_same(part, part)

    def _require_same(self, now: Identity, names: Iterable[str]) -> None:
        if not self._has_samples():
            return
        before, now = self._identity(), json.loads(json.dumps(dict(now)))
        different = [_difference(name, before, now) for name in names if before.get(name) != now.get(name)]
        if different:
            more = f" and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
            raise ConfigError(
                f"{self.folder} holds an unfinished evaluation of something else ({'; '.join(different[:_SHOWN])}{more}): "
                f"go on with the same, name another --out, or remove that folder"
            )

    def _identity(self) -> Identity:
        """Of the samples that are there; nothing where it cannot be told."""
        try:
            found: Identity = parse_json((self.folder / _IDENTITY).read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def _has_samples(self) -> bool:
        return any(path.stat().st_size for path in self.folder.glob("samples-*.jsonl"))

    def publish(self) -> None:
        """Put `results`, which is complete, in place of what was published before; nothing else in `out` is touched.

        metrics.json goes first and comes last: where it is, the others are of the same run.
        """
        metrics = RESULT_FILES[0]
        self.out.mkdir(exist_ok=True)
        for path in [self.out / metrics, *filter(_is_leftover, self.out.iterdir())]:
            path.unlink(missing_ok=True)
        for name in (*RESULT_FILES[1:], metrics):
            with (self.results / name).open("rb") as source, whole_file(self.out / name, "wb") as target:
                shutil.copyfileobj(source, target)  # not renamed: `out` may be a volume of its own
        shutil.rmtree(self.folder)

    @property
    def results(self) -> Path:
        """Where they are written before they are published."""
        return self.folder / _RESULTS

    def __enter__(self) -> Unfinished:
        return self

    def __exit__(self, *error: object) -> None:
        if self.folder.exists() and not self._has_samples():  # nothing to go on from
            shutil.rmtree(self.folder)
        os.close(self._lock)

    def _take_lock(self) -> int:
        """A lock that ends with this process, however it ends."""
        path = self.folder / _LOCK
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:  # whoever had it removed the folder just now
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                who = os.read(descriptor, 32).decode(errors="replace").strip()
                os.close(descriptor)
                raise ConfigError(
                    f"another evaluation (process {who or 'unknown'}) is writing to {self._name}: "
                    f"wait for it, end it, or name another --out"
                ) from None
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                return descriptor
            os.close(descriptor)  # of a folder that was removed while we asked for it


def _require_ours(out: Path, name: Path) -> None:
    """What is at `out` may be replaced, and can be."""
    if out.is_dir():
        for path in sorted(out.iterdir()):
            if not _is_result(path) and not _is_leftover(path):
                raise ConfigError(f"{name} holds {path.name}, which no evaluation wrote: name another folder")
        if not os.access(out, os.W_OK):
            raise ConfigError(f"{name} cannot be written to")
    elif out.exists():
        raise ConfigError(f"{name} is a file: name a folder")


def _is_leftover(path: Path) -> bool:
    """What a kill left of one of an evaluation's files while it was written."""
    return any(fnmatch(path.name, temporary_sibling(Path(name), "*").name) for name in RESULT_FILES)


def _is_result(path: Path) -> bool:
    """One of an evaluation's files, by name and by how it starts."""
    if path.name not in RESULT_FILES or not path.is_file():
        return False
    try:
        if path.suffix == ".csv":
            with path.open("rb") as lines:
                return lines.readline().startswith(b"task_id,")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            found = parse_json(file.readline() if path.suffix == ".gz" else file.read())
    except (OSError, EOFError, zlib.error, ValueError):
        return False
    names = {"task_id", "verdict"} if path.suffix == ".gz" else {"benchmark", "verdicts"}
    return isinstance(found, dict) and names <= found.keys()


def _difference(name: str, before: Identity, now: Identity) -> str:
    one, other = before.get(name), now.get(name)
    if "sha256:" in str(one) and "sha256:" in str(other):
        return f"another {name}"
    shown = ["unknown" if value is None else "there" if "sha256:" in str(value) else repr(value) for value in (one, other)]
    return f"{name} was {shown[0]}, is {shown[1]}"
