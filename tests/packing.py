"""Rows of a test's table packed by hand: documents one after the other, as many as there is room for, in their order."""

import json

import numpy as np
import pyarrow as pa

from tests.tables import META
from wmtp.tokens.tables import read_table, write_table

MARK = {b"wmtp_fingerprint": b"packed by hand"}


def pack_by_hand(folders, target, width):
    """The rows of `tests.tables.make_tables` in rows of at most `width` tokens.

    Returns:
        the folders of the data and of its reference's scores, and for every packed row the rows that it holds.
    """
    table, scores = (read_table(folder / "train.arrow") for folder in folders[:2])
    ids, nll = table["input_ids"].to_pylist(), scores["reference_nll"].to_pylist()
    prompts = table["prompt_len"].to_pylist()
    rows = [[]]
    for i, tokens in enumerate(ids):
        if sum(len(ids[j]) for j in rows[-1]) + len(tokens) > width:
            rows.append([])
        rows[-1].append(i)

    def joined(values, kind):
        return pa.array([[x for i in row for x in values[i]] for row in rows], pa.large_list(kind))

    targets = [[place >= prompt for place in range(len(tokens))] for tokens, prompt in zip(ids, prompts, strict=True)]
    packed = pa.table(
        {
            "problem_id": [f"r{n}" for n in range(len(rows))],
            "input_ids": joined(ids, pa.int32()),
            "prompt_len": pa.array(np.zeros(len(rows), np.int32)),
            "is_correct": pa.array([True] * len(rows)),
            "noise_kind": [""] * len(rows),
            "is_noise": joined([[False] * len(tokens) for tokens in ids], pa.bool_()),
            "difficulty": pa.array(np.zeros(len(rows), np.int32)),
            "is_target": joined(targets, pa.bool_()),
            "segment_lens": pa.array([[len(ids[i]) for i in row] for row in rows], pa.large_list(pa.int32())),
            "segment_documents": pa.array(rows, pa.large_list(pa.int64())),
            "segment_places": pa.array([[f"texts:{i}" for i in row] for row in rows], pa.large_list(pa.string())),
        }
    )
    places = target / "packed", target / "packed_reference"
    for place in places:
        place.mkdir(parents=True)
    (places[0] / "meta.json").write_text(json.dumps({**META, "max_length": width}))
    write_table(places[0] / "train.arrow", packed.replace_schema_metadata(MARK))
    column = pa.table({"reference_nll": joined(nll, pa.float32())})
    write_table(places[1] / "train.arrow", column.replace_schema_metadata(MARK))
    return (*places, rows)
