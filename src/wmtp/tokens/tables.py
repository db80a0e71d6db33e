"""Arrow tables on disk: uncompressed IPC streams, as Hugging Face's datasets keeps its own, memory-mapped when read, complete
or absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wmtp.errors import DataError
from wmtp.files import whole_file

FINGERPRINT = b"wmtp_fingerprint"
"""Schema metadata: sha256 over the problem ids and tokens of all rows; score columns carry the one they were made for."""


_END = b"\xff\xff\xff\xff\0\0\0\0"
"""Of a stream. Readers do without it, and would take a part that ends between two batches for the whole."""


_FILE = b"ARROW1"
"""How Arrow's other format begins."""


def write_table(path: Path, table: pa.Table) -> None:
    """Write `table`, whole or not at all."""
    with whole_file(path, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def read_table(path: Path) -> pa.Table:
    """The table, memory-mapped: nothing is copied until it is used.

    Raises:
        DataError: no such file, or not a whole Arrow IPC stream.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist")
    try:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_stream(file).read_all()
            file.seek(max(0, file.size() - len(_END)))
            is_whole = file.read() == _END
    except (pa.ArrowInvalid, OSError) as error:
        with path.open("rb") as file:
            if file.read(len(_FILE)) == _FILE:
                raise DataError(
                    f"{path} is an Arrow IPC file, as earlier versions wrote: make it again (`dvc repro`)"
                ) from None
        raise DataError(f"{path} is not an Arrow IPC stream: {error}") from None
    if not is_whole:
        raise DataError(f"{path} is not an Arrow IPC stream: its end is missing")
    return table


def read_meta(folder: Path) -> dict[str, Any]:
    """`folder/meta.json`, what `sample` says about a folder of tables: see `TokenMeta`, and counts and statistics.

    Raises:
        DataError: no such file, or not a JSON object.
    """
    path = folder / "meta.json"
    if not path.exists():
        raise DataError(f"{path} does not exist")
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}") from None
    if not isinstance(meta, dict):
        raise DataError(f"{path} is not a JSON object")
    return meta


def large_list(values: np.ndarray, offsets: np.ndarray) -> pa.LargeListArray:
    """Flat values and N+1 offsets as a list column of N rows."""
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values))


def largest_token(table: pa.Table) -> int:
    """Of all rows; -1 where there are none."""
    return max((pc.max(chunk.flatten()).as_py() for chunk in table["input_ids"].chunks if len(chunk)), default=-1)


def row_lengths(table: pa.Table) -> np.ndarray:
    """Tokens of every row."""
    return np.diff(table["input_ids"].combine_chunks().offsets.to_numpy())


def fingerprinted(table: pa.Table) -> pa.Table:
    """With the fingerprint of its rows."""
    tokens = table["input_ids"].combine_chunks()
    offsets = tokens.offsets.to_numpy()
    made_of = fingerprint(table["problem_id"].to_pylist(), tokens.flatten().to_numpy(), offsets - offsets[0])
    return table.replace_schema_metadata({FINGERPRINT: made_of})


def fingerprint(problem_ids: Sequence[str], tokens: np.ndarray, offsets: np.ndarray) -> bytes:
    """sha256 (hex) over (problem_id, input_ids) of all rows."""
    digest = hashlib.sha256("\0".join(problem_ids).encode())
    digest.update(np.ascontiguousarray(offsets, dtype=np.int64).data)
    digest.update(np.ascontiguousarray(tokens, dtype=np.int32).data)
    return digest.hexdigest().encode()
