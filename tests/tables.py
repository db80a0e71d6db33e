"""Small token tables for tests: sequences that a tiny model can start to learn."""

import json

import numpy as np
import pyarrow as pa

from wmtp.tokens.tables import read_table, write_table

VOCAB = 40
META = {
    "vocab_size": VOCAB,
    "largest_token_id": VOCAB - 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "max_length": 32,
    "is_ordered": False,
}


def make_tables(folder, num_rows=48, name="train", seed=0):
    """A data table with its meta.json, `reference_nll` and `value` columns; returns the data and the two score folders."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(6, 18, num_rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    starts = generator.integers(0, VOCAB, num_rows)
    ids = np.concatenate([(np.arange(n) * 3 + s) % (VOCAB - 2) + 2 for n, s in zip(lengths, starts, strict=True)]).astype(
        np.int32
    )

    def lists(values):
        return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))

    fingerprint = {b"wmtp_fingerprint": f"{name}-{seed}-{num_rows}".encode()}
    table = pa.table(
        {
            "problem_id": [f"p{i // 2}" for i in range(num_rows)],
            "input_ids": lists(ids),
            "prompt_len": pa.array(np.minimum(lengths // 3, 4).astype(np.int32)),
            "is_correct": pa.array(starts < VOCAB // 2),
            "noise_kind": [["", "comments"][i % 2] for i in range(num_rows)],
            "is_noise": lists(generator.random(len(ids)) < 0.2),
            "difficulty": pa.array(np.ones(num_rows, np.int32)),
        }
    )
    folders = [folder / "data", folder / "reference", folder / "value"]
    for path in folders:
        path.mkdir(parents=True, exist_ok=True)
    (folders[0] / "meta.json").write_text(json.dumps(META))
    nll, value = generator.random(len(ids)).astype(np.float32) * 4, generator.random(len(ids)).astype(np.float32)
    write_table(folders[0] / f"{name}.arrow", table.replace_schema_metadata(fingerprint))
    write_table(folders[1] / f"{name}.arrow", pa.table({"reference_nll": lists(nll)}).replace_schema_metadata(fingerprint))
    write_table(folders[2] / f"{name}.arrow", pa.table({"value": lists(value)}).replace_schema_metadata(fingerprint))
    return folders


def add_column(folder, name, seed):
    """A random score column for the rows of `make_tables`; returns its folder."""
    data = read_table(folder / "data" / "train.arrow")
    tokens = data["input_ids"].combine_chunks()
    values = np.random.default_rng(seed).random(len(tokens.values)).astype(np.float32)
    column = pa.LargeListArray.from_arrays(tokens.offsets, pa.array(values))
    place = folder / "columns" / name
    place.mkdir(parents=True)
    write_table(place / "train.arrow", pa.table({name: column}).replace_schema_metadata(data.schema.metadata))
    return place
