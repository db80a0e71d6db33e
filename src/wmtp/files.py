"""Files that are whole or absent, append-only journals of JSON lines, and JSON of any origin. No torch."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO, overload

_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What file systems answer that cannot flush a folder; they have their own ways to keep a rename."""


SHARED_MODE = 0o664
"""Of a file that others of its group must be able to use, whatever the umask of who makes it."""


def temporary_sibling(path: Path, mark: str) -> Path:
    """The one form of unfinished names, `.NAME.tmp-MARK`: DVC and git are told to leave them alone."""
    return path.with_name(f".{path.name}.tmp-{mark}")


@overload
def whole_file(path: Path, mode: Literal["w"] = "w", *, durable: bool = True) -> AbstractContextManager[TextIO]: ...


@overload
def whole_file(path: Path, mode: Literal["wb"], *, durable: bool = True) -> AbstractContextManager[BinaryIO]: ...


@contextmanager
def whole_file(path: Path, mode: str = "w", *, durable: bool = True) -> Iterator[Any]:
    """A file to write to that becomes `path` when the block ends well: `path` holds all of it, or what it held before.

    Written to a temporary sibling, flushed to the disk, and renamed. If the block or the disk fails, the sibling is removed;
    only a kill can leave it behind. Any number of processes may write the same path: one of them is last.

    Args:
        mode: "w" for text (UTF-8, newlines as they are), "wb" for bytes.
        durable: wait until the file and its folder are on the disk. Without it, a crash of the machine (not of the
            process) may lose the file; for what only matters while its writer lives.
    """
    temporary = temporary_sibling(path, uuid.uuid4().hex[:12])
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with open(temporary, mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """`text` as UTF-8, whole or not at all (see `whole_file`)."""
    with whole_file(path, durable=durable) as file:
        file.write(text)


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """`data`, whole or not at all (see `whole_file`)."""
    with whole_file(path, "wb", durable=durable) as file:
        file.write(data)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Indented, sorted, ends in a newline; whole or not at all (see `whole_file`)."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n", durable=durable)


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line, keys as they come; whole or not at all (see `whole_file`)."""
    with whole_file(path) as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def usual_mode(folder: Path) -> int:
    """The rights that a new file of a folder gets: what libraries make by way of a temporary file, its owner alone may read."""
    probe = temporary_sibling(folder / "mode", uuid.uuid4().hex[:12])
    probe.touch()
    try:
        return stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink()


def parse_json(text: str | bytes) -> Any:
    """`json.loads` of something that a user may have written.

    Raises:
        ValueError: not JSON, not UTF-8, or nested deeper than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not path.is_dir() or error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


class Journal:
    """JSON objects, one a line, that are only ever appended: after a kill, all of them are there but perhaps the last.

    Opening repairs: what follows the last whole record (a line that a kill cut off) is removed, so that the next record has
    a line of its own. Readers may look at any time (`read_journal`). One writer at a time; a process's records reach the
    system before `append` returns, so they outlive it.

    Args:
        path: created with its folder when missing. `records` is what it holds when it is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 -- open as long as the journal
        try:
            self.records, size = _whole_records(path.read_bytes())
            os.ftruncate(self._file.fileno(), size)
        except BaseException:
            self._file.close()
            raise

    def append(self, *records: Mapping[str, Any]) -> None:
        """All of `records`, in one go.

        Raises:
            OSError: the disk is full, or worse; the journal is as it was before.
        """
        rest = memoryview(b"".join(json.dumps(record, sort_keys=True).encode() + b"\n" for record in records))
        before = os.fstat(self._file.fileno()).st_size
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException:
            os.ftruncate(self._file.fileno(), before)
            raise

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The whole records of a journal that may be written to right now; none when there is no such file."""
    try:
        return _whole_records(path.read_bytes())[0]
    except FileNotFoundError:
        return []


def _whole_records(content: bytes) -> tuple[list[dict[str, Any]], int]:
    """The records up to the first line that is not whole, and how many bytes they take."""
    records, size = [], 0
    for line in io.BytesIO(content):
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            record = None
        if not isinstance(record, dict):
            break
        records.append(record)
        size += len(line)
    return records, size
