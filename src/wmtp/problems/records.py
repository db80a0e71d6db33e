"""Records of public datasets, read one at a time from files or from the hub, with errors that name file, line and field."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wmtp.errors import DataError
from wmtp.files import parse_json

Record = Mapping[str, Any]
"""One row of a dataset by field name."""


def read_records(path_or_hub_id: str) -> Iterator[tuple[str, Record]]:
    """Yield (where, record) from a .jsonl (.gz), .json, .parquet or .arrow file, a folder of them, or a hub dataset.

    `where` is `file:line` (or row) for error messages. A hub dataset is `owner/name` or `owner/name:split` (default
    split `train`); it needs the extra `hub`.

    Raises:
        DataError: nothing there, an unknown format, or a line that is not a JSON object.
    """
    path = Path(path_or_hub_id)
    if path.is_dir():
        formats = [name for name in _READERS if name != ".json"]  # beside tables, those describe them
        parts = sorted(p for p in path.iterdir() if _format(p) in formats)
        if not parts:
            raise DataError(f"{path} holds no {', '.join(formats)} file")
    elif path.is_file():
        if _format(path) not in _READERS:
            raise DataError(f"{path}: unknown format {_format(path)!r}, use one of {', '.join(_READERS)}")
        parts = [path]
    elif _format(path) in _READERS or path_or_hub_id.count("/") != 1 or path_or_hub_id.startswith((".", "~")):
        raise DataError(f"{path_or_hub_id} does not exist (and is not a hub id of the form owner/name)")
    else:
        yield from _hub(path_or_hub_id)
        return
    for part in parts:
        yield from _READERS[_format(part)](part)


def _format(path: Path) -> str:
    """`.jsonl` of `a.b.jsonl`, `.jsonl.gz` of `a.b.jsonl.gz`."""
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as lines:
            yield from lines
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked: {error}") from None


def _jsonl(path: Path) -> Iterator[tuple[str, Record]]:
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            record = parse_json(line)
        except ValueError as error:
            raise DataError(f"{where}: not valid JSON ({error})") from None
        yield where, _object(record, where)


def _json(path: Path) -> Iterator[tuple[str, Record]]:
    """One list of objects, all in memory (MBPP's sanitized edition is published so)."""
    try:
        records = parse_json(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(records, list):
        raise DataError(f"{path}: expected a list of JSON objects, found {type(records).__name__}")
    for row, record in enumerate(records):
        yield f"{path}: row {row}", _object(record, f"{path}: row {row}")


def _object(record: Any, where: str) -> Record:
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected a JSON object, found {type(record).__name__}")
    return record


def _parquet(path: Path) -> Iterator[tuple[str, Record]]:
    import pyarrow.parquet as pq

    row = 0
    for batch in pq.ParquetFile(path).iter_batches(batch_size=64):
        for record in batch.to_pylist():
            yield f"{path}: row {row}", record
            row += 1


def _arrow(path: Path) -> Iterator[tuple[str, Record]]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_file(source)
            batches: Iterator[pa.RecordBatch] = (reader.get_batch(i) for i in range(reader.num_record_batches))
        except pa.ArrowInvalid:
            source.seek(0)
            batches = iter(pa.ipc.open_stream(source))
        row = 0
        for batch in batches:
            for start in range(0, len(batch), 64):
                for record in batch.slice(start, 64).to_pylist():
                    yield f"{path}: row {row}", record
                    row += 1


_READERS = {".jsonl": _jsonl, ".jsonl.gz": _jsonl, ".json": _json, ".parquet": _parquet, ".arrow": _arrow}


def _hub(name: str) -> Iterator[tuple[str, Record]]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise DataError(f"reading {name} from the hub needs the datasets package: pip install 'wmtp[hub]'") from None
    repo, _, split = name.partition(":")
    try:
        stream = load_dataset(repo, split=split or "train", streaming=True)
    except (OSError, ValueError) as error:
        raise DataError(f"hub dataset {name}: {str(error).splitlines()[0]}") from None
    for row, record in enumerate(stream):
        yield f"{name}: row {row}", record


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


def take_strings(record: Record, where: str, name: str, default: Any = _MISSING) -> list[str]:
    """`record[name]` as a list of strings; errors as `take`."""
    values = take(record, where, name, list, default)
    for position, value in enumerate(values):
        if not isinstance(value, str):
            raise DataError(f"{where}: field {name!r}[{position}] must be str, found {type(value).__name__}")
    return values


def unix_newlines(text: str) -> str:
    """Windows line ends (MBPP has them) as `\\n`."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
