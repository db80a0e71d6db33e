"""Records of public datasets, read one at a time from files or from the hub, with errors that name file, line and field."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import itertools
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from wmtp.checks import installing
from wmtp.errors import DataError, first_line
from wmtp.files import parse_json
from wmtp.problems.splits import files_of, path_format

if TYPE_CHECKING:
    import pyarrow as pa

Record = Mapping[str, Any]
"""One row of a dataset by field name."""

Row = tuple[str, Record | DataError]
"""Where it stands, `file:line` or `file: row N`, and what is there, or why that is no record."""

_HUB_ID = re.compile(
    r"(?P<repo>[\w-][\w.-]*/[\w.-]+)(:(?P<config>[^:@/]+)(?=:))?(:(?P<split>[^:@/[]+(\[[^@/\]]*\])?))?(@(?P<revision>[^:@]+))?"
)
_PLACE = re.compile(r"(?P<file>.*)(: row |:)(?P<row>\d+)", re.DOTALL)
_BATCH = 64
"""Rows that are Python objects at the same time."""


@dataclass
class Notes:
    """What a reader leaves out or takes for something else, by reason: nothing of it goes unseen.

    Attributes:
        left_out: solutions of the records that are not in the problems made of them.
        unknown: fields that say nothing where the dataset has them (null, a rating below zero) and count as not given.
        names: problems' names so far, with what tells two of the same name apart.
        not_run: ids of problems whose tests are left out because nothing here can run them, such as tests with files.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    names: dict[str, str] = field(default_factory=dict)
    not_run: set[str] = field(default_factory=set)

    def cannot_run(self, problem_id: str, reason: str) -> None:
        """The problem has no tests for that reason."""
        self.unknown[reason] += 1
        self.not_run.add(problem_id)

    def other_language(self, language: object) -> None:
        """A solution is left out for what it is written in: as the dataset has it, where that is a word."""
        word = language.lower() if isinstance(language, str) and re.fullmatch(r"[\w.+#-]{1,20}", language) else "unknown"
        self.left_out[f"other_language_{word}"] += 1


def read_records(path_or_hub_id: str) -> Iterator[tuple[str, Record]]:
    """Yield (where, record) of every row of `read_rows`.

    Raises:
        DataError: nothing there, an unknown format, or a row that is no record.
    """
    for where, record in read_rows(path_or_hub_id):
        if isinstance(record, DataError):
            raise record
        yield where, record


def read_rows(path_or_hub_id: str) -> Iterator[Row]:
    """Rows of a .jsonl or .json (.gz or .zst), .parquet or .arrow file, of a folder or pattern of them (see `files_of`), or
    of a hub dataset.

    `where` is `file:line` (or row) for error messages. A hub dataset is `owner/name`, `owner/name:SPLIT` or
    `owner/name:CONFIG:SPLIT` (split `train` where none is named), with `@REVISION` behind it for one of its versions; it
    needs the extra `hub`.

    Raises:
        DataError: nothing there, an unknown format, or a file that cannot be read on.
    """
    parts = files_of(path_or_hub_id)
    if not parts:
        hub_id = _HUB_ID.fullmatch(path_or_hub_id)
        if hub_id is None or path_format(path_or_hub_id) in _READERS:
            hint = "and is not a hub id of the form owner/name:config:split@revision"
            raise DataError(f"{path_or_hub_id} does not exist ({hint})")
        yield from _hub(path_or_hub_id, **hub_id.groupdict())
        return
    for part in parts:
        with _readable(part):
            yield from _READERS[path_format(part)](part)


def place_of(where: str) -> tuple[str, int]:
    """File and row of the `where` of a row: the line from 1, or the row of a table from 0."""
    match = _PLACE.fullmatch(where)
    assert match is not None, where
    return match["file"], int(match["row"])


def version_of(path_or_hub_id: str) -> dict[str, str]:
    """What tells one edition of a dataset from another, for results: `name`, and `md5` of what its files hold, unpacked.

    Of a hub dataset the id, with the revision where one was asked for.
    """
    parts = files_of(path_or_hub_id)
    if not parts:
        return {"name": path_or_hub_id}
    digest = hashlib.md5(usedforsecurity=False)
    for part in parts:
        with _readable(part):
            for line in _lines(part):
                digest.update(line)
    return {"name": Path(path_or_hub_id).name, "md5": digest.hexdigest()}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raises DataError: the system does not let it be read, or not to its end."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno is not None else str(error)
        raise DataError(f"{path} cannot be read: {reason}") from None


def _open(path: Path) -> IO[bytes]:
    """The file as it is when it is unpacked."""
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.GzipFile(path))
    if path.suffix == ".zst":
        import pyarrow as pa

        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return open(path, "rb")


def _lines(path: Path) -> Iterator[bytes]:
    """Raises DataError: what is packed cannot be unpacked."""
    try:
        with _open(path) as lines:
            yield from lines
    except (EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's own; those of packers have no number
            raise
        raise DataError(f"{path} cannot be unpacked: {error}") from None


def json_value(text: str | bytes, where: str) -> Any:
    """What the text holds.

    Raises:
        DataError: it is no JSON.
    """
    try:
        return parse_json(text)
    except ValueError as error:
        raise DataError(f"{where}: not valid JSON ({error})") from None


def _text_lines(path: Path) -> Iterator[bytes]:
    """
    Raises:
        DataError: as `_lines`; text in wider units than bytes, which would be cut within them.
    """
    lines = _lines(path)
    first = next(lines, b"")
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in first[:2]:
        raise DataError(f"{path} is UTF-16 text (or UTF-32): save it as UTF-8")
    yield from itertools.chain([first.removeprefix(codecs.BOM_UTF8)], lines)


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_text_lines(path), 1):
        if line.strip():
            yield _row(f"{path}:{number}", line)


def _row(where: str, line: bytes) -> Row:
    try:
        return where, _object(json_value(line, where), where)
    except DataError as error:
        return where, error


def _json(path: Path) -> Iterator[Row]:
    """One list of objects, all in memory (MBPP's sanitized edition is published so)."""
    records = json_value(b"".join(_text_lines(path)), str(path))
    if not isinstance(records, list):
        raise DataError(f"{path}: expected a list of JSON objects, found {type(records).__name__}")
    for number, record in enumerate(records):
        where = f"{path}: row {number}"
        try:
            yield where, _object(record, where)
        except DataError as error:
            yield where, error


def _object(record: Any, where: str) -> Record:
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected a JSON object, found {type(record).__name__}")
    return record


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        yield from _rows(path, pq.ParquetFile(path, pre_buffer=False).iter_batches(batch_size=_BATCH))
    except pa.ArrowException as error:
        raise DataError(f"{path} cannot be read: {first_line(error)}") from None


def _arrow(path: Path) -> Iterator[Row]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        try:
            try:
                reader = pa.ipc.open_file(source)
                batches: Iterator[pa.RecordBatch] = (reader.get_batch(i) for i in range(reader.num_record_batches))
            except pa.ArrowInvalid:
                source.seek(0)
                batches = iter(pa.ipc.open_stream(source))
            yield from _rows(path, (batch.slice(i, _BATCH) for batch in batches for i in range(0, len(batch), _BATCH)))
        except pa.ArrowException as error:
            raise DataError(f"{path} cannot be read: {first_line(error)}") from None


def _rows(path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        try:
            records: list[Record | DataError] = batch.to_pylist()
        except UnicodeDecodeError:
            records = [_text_row(batch.slice(i, 1), f"{path}: row {number + i}") for i in range(len(batch))]
        for record in records:
            yield f"{path}: row {number}", record
            number += 1


def _text_row(row: pa.RecordBatch, where: str) -> Record | DataError:
    record = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            record[name] = column[0].as_py()
        except UnicodeDecodeError as error:
            return DataError(f"{where}: field {name!r} is not UTF-8 text ({error.reason})")
    return record


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    **dict.fromkeys((".jsonl", ".jsonl.gz", ".jsonl.zst"), _jsonl),
    **dict.fromkeys((".json", ".json.gz", ".json.zst"), _json),
    ".parquet": _parquet,
    ".arrow": _arrow,
}


def _hub(name: str, repo: str, config: str | None, split: str | None, revision: str | None) -> Iterator[Row]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise DataError(f"reading {name} from the hub needs the datasets package: {installing('hub')}") from None
    try:
        stream = load_dataset(repo, config, split=split or "train", revision=revision, streaming=True)
        for row, record in enumerate(stream):
            yield f"{name}: row {row}", record
    except (OSError, ValueError) as error:
        raise DataError(f"hub dataset {name}: {first_line(error)}") from None


_MISSING = object()


def take(record: Record, where: str, name: str, kind: type | tuple[type, ...], default: Any = _MISSING) -> Any:
    """`record[name]`, checked.

    Raises:
        DataError: the field is missing (and has no default) or of another type; names `where` and the field.
    """
    value = record.get(name, default)
    if value is _MISSING:
        raise DataError(f"{where}: field {name!r} is missing; the record has {', '.join(sorted(record)) or 'no fields'}")
    wrong_bool = isinstance(value, bool) and kind is not bool
    if value is not default and (not isinstance(value, kind) or wrong_bool):
        names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise DataError(f"{where}: field {name!r} must be {names}, found {type(value).__name__}")
    return value


def take_or_null(record: Record, where: str, name: str, kind: type | tuple[type, ...], default: Any, notes: Notes) -> Any:
    """`take` of a field that need not be there: null counts as not given, and is noted as `null_NAME`."""
    if record.get(name, _MISSING) is None:
        notes.unknown[f"null_{name}"] += 1
        return default
    return take(record, where, name, kind, default)


def known_rating(record: Record, where: str, name: str, notes: Notes) -> int | None:
    """A difficulty that is told; None where it is not: null and below zero, which are noted, or not there at all."""
    rating: int | None = take_or_null(record, where, name, int, None, notes)
    if rating is not None and rating < 0:
        notes.unknown[f"negative_{name}"] += 1
        return None
    return rating


def take_strings(record: Record, where: str, name: str, default: Any = _MISSING) -> list[str]:
    """`record[name]` as a list of strings; errors as `take`."""
    values = take(record, where, name, list, default)
    for position, value in enumerate(values):
        if not isinstance(value, str):
            raise DataError(f"{where}: field {name!r}[{position}] must be str, found {type(value).__name__}")
    return values


def unix_newlines(text: str) -> str:
    """Windows line ends (MBPP has them) as `\\n`."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
