"""Arrow tables on disk: uncompressed IPC files, memory-mapped when read, complete or absent."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wmtp.errors import DataError

FINGERPRINT = b"wmtp_fingerprint"
"""Schema metadata: sha256 over the problem ids and tokens of all rows; score columns carry the one they were made for."""


def write_table(path: Path, table: pa.Table) -> None:
    """Write `table` beside `path`, flush it to the disk, and rename it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        sink.flush()
        os.fsync(sink.fileno())
    os.replace(temporary, path)


def read_table(path: Path) -> pa.Table:
    """The table, memory-mapped: nothing is copied until it is used.

    Raises:
        DataError: no such file, or not an Arrow IPC file.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist")
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not an Arrow IPC file: {error}") from None


def read_meta(folder: Path) -> dict[str, Any]:
    """What `sample` says about `artifacts/data`: vocab_size, eos_token_id, pad_token_id, max_length, is_ordered, counts."""
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    return meta


def large_list(values: np.ndarray, offsets: np.ndarray) -> pa.LargeListArray:
    """Flat values and N+1 offsets as a list column of N rows."""
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values))


def fingerprint(problem_ids: Sequence[str], tokens: np.ndarray, offsets: np.ndarray) -> bytes:
    """sha256 (hex) over (problem_id, input_ids) of all rows."""
    digest = hashlib.sha256("\0".join(problem_ids).encode())
    digest.update(np.ascontiguousarray(offsets, dtype=np.int64).tobytes())
    digest.update(np.ascontiguousarray(tokens, dtype=np.int32).tobytes())
    return digest.hexdigest().encode()
