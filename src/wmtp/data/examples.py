"""Examples as token rows: one string, offsets for the boundary and the noise, nothing dropped without being counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from wmtp.data.noise import Example

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def tokenize(
    examples: Sequence[Example], tokenizer: Tokenizer, *, eos_token_id: int, max_length: int, counts: Counter[str], split: str
) -> pa.Table:
    """prompt + solution + EOS, encoded as one string.

    A token that starts before the prompt's end belongs to the prompt. A token is noise when any of its characters is.
    Examples longer than `max_length` are dropped and counted as `<split>_too_long`.

    Returns:
        the table that every training stage reads; see docs/data.md. Its metadata carry the rows' fingerprint.
    """
    encodings = tokenizer.encode_batch([e.prompt + e.code for e in examples], add_special_tokens=False)
    rows = []
    for example, encoding in zip(examples, encodings, strict=True):
        if len(encoding.ids) + 1 > max_length:
            counts[f"{split}_too_long"] += 1
            continue
        boundary = len(example.prompt)
        starts = np.array([start for start, _ in encoding.offsets])
        ends = np.array([end for _, end in encoding.offsets])
        noise = np.zeros(len(encoding.ids) + 1, dtype=bool)
        for first, last in example.noise:
            noise[:-1] |= (starts < boundary + last) & (ends > boundary + first)
        rows.append((example, np.array([*encoding.ids, eos_token_id], dtype=np.int32), int((starts < boundary).sum()), noise))
    counts[f"{split}_examples"] += len(rows)
    counts[f"{split}_correct"] += sum(e.is_correct for e, *_ in rows)
    counts[f"{split}_tokens"] += sum(len(ids) for _, ids, *_ in rows)
    return _table(rows)


def _table(rows: list[tuple[Example, np.ndarray, int, np.ndarray]]) -> pa.Table:
    offsets = pa.array(np.cumsum([0, *(len(ids) for _, ids, *_ in rows)]), pa.int64())
    flat_ids = np.concatenate([ids for _, ids, *_ in rows]) if rows else np.empty(0, np.int32)
    flat_noise = np.concatenate([noise for *_, noise in rows]) if rows else np.empty(0, bool)
    table = pa.table(
        {
            "problem_id": pa.array([e.problem_id for e, *_ in rows], pa.string()),
            "input_ids": pa.LargeListArray.from_arrays(offsets, pa.array(flat_ids, pa.int32())),
            "prompt_len": pa.array([prompt_len for *_, prompt_len, _ in rows], pa.int32()),
            "is_correct": pa.array([e.is_correct for e, *_ in rows], pa.bool_()),
            "noise_kind": pa.array([e.noise_kind for e, *_ in rows], pa.string()),
            "is_noise": pa.LargeListArray.from_arrays(offsets, pa.array(flat_noise, pa.bool_())),
            "difficulty": pa.array([e.difficulty for e, *_ in rows], pa.int32()),
        }
    )
    digest = hashlib.sha256(flat_ids.tobytes())
    digest.update("\n".join(f"{e.problem_id} {len(ids)}" for e, ids, *_ in rows).encode())
    return table.replace_schema_metadata({b"wmtp_fingerprint": digest.hexdigest().encode()})
