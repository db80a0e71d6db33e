"""Tables are whole or absent, and a fingerprint tells any two apart."""

import json

import numpy as np
import pyarrow as pa
import pytest

from wmtp.errors import DataError
from wmtp.tokens.tables import (
    FINGERPRINT,
    fingerprint,
    fingerprinted,
    large_list,
    read_meta,
    read_table,
    row_lengths,
    write_table,
)


def test_a_table_comes_back_with_its_fingerprint_and_without_a_copy(tmp_path):
    table = pa.table({"a": [1, 2, 3], "b": ["x", "λ", ""]}).replace_schema_metadata({FINGERPRINT: b"abc"})
    write_table(tmp_path / "t.arrow", table)
    before = pa.total_allocated_bytes()
    again = read_table(tmp_path / "t.arrow")
    assert pa.total_allocated_bytes() - before < 100, "memory-mapped"
    assert again.equals(table) and again.schema.metadata == {FINGERPRINT: b"abc"}
    assert [path.name for path in tmp_path.iterdir()] == ["t.arrow"]


def test_a_table_that_is_not_there_or_not_one_is_named(tmp_path):
    with pytest.raises(DataError, match=r"t\.arrow does not exist"):
        read_table(tmp_path / "t.arrow")
    (tmp_path / "t.arrow").write_text("no table")
    with pytest.raises(DataError, match=r"t\.arrow is not an Arrow IPC stream: "):
        read_table(tmp_path / "t.arrow")
    write_table(tmp_path / "whole.arrow", pa.table({"a": list(range(1000))}))
    whole = (tmp_path / "whole.arrow").read_bytes()
    for size in (len(whole) // 2, len(whole) - 8, 4, 0):
        (tmp_path / "t.arrow").write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"t\.arrow is not an Arrow IPC stream: "):
            read_table(tmp_path / "t.arrow")


def test_a_table_of_earlier_versions_is_told_from_a_broken_one(tmp_path):
    table = pa.table({"a": [1]})
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match=r"t\.arrow is an Arrow IPC file, as earlier versions wrote: make it again"):
        read_table(tmp_path / "t.arrow")


def test_a_part_that_ends_between_two_batches_is_not_the_whole(tmp_path):
    parts = [pa.table({"a": [1, 2]}), pa.table({"a": [3]})]
    write_table(tmp_path / "two.arrow", pa.concat_tables(parts))
    write_table(tmp_path / "one.arrow", parts[0])
    two, one = ((tmp_path / f"{name}.arrow").read_bytes() for name in ("two", "one"))
    assert two.startswith(one[:-8])
    (tmp_path / "two.arrow").write_bytes(one[:-8])
    with pytest.raises(DataError, match="its end is missing"):
        read_table(tmp_path / "two.arrow")


def test_meta_is_an_object(tmp_path):
    with pytest.raises(DataError, match=r"meta\.json does not exist"):
        read_meta(tmp_path)
    for text, message in (("{", "is not JSON: "), ("[1]", "is not a JSON object")):
        (tmp_path / "meta.json").write_text(text)
        with pytest.raises(DataError, match=rf"meta\.json {message}"):
            read_meta(tmp_path)
    (tmp_path / "meta.json").write_text(json.dumps({"counts": {"a": 1}}))
    assert read_meta(tmp_path) == {"counts": {"a": 1}}


def test_flat_values_and_offsets_are_rows():
    column = large_list(np.array([5, 6, 7], np.int32), np.array([0, 2, 2, 3]))
    assert column.to_pylist() == [[5, 6], [], [7]] and column.type == pa.large_list(pa.int32())


def test_a_fingerprint_is_of_the_ids_the_tokens_and_the_rows_bounds():
    ids, tokens, offsets = ["a", "b"], np.array([1, 2, 3]), np.array([0, 1, 3])
    first = fingerprint(ids, tokens, offsets)
    assert first == fingerprint(ids, tokens.astype(np.int16), offsets.astype(np.int32)), "whatever the numbers' width"
    assert first == fingerprint(ids, np.array([1, 0, 2, 0, 3])[::2], offsets), "wherever they lie in memory"
    others = [
        fingerprint(["a", "c"], tokens, offsets),
        fingerprint(["b", "a"], tokens, offsets),
        fingerprint(["ab", ""], tokens, offsets),
        fingerprint(ids, np.array([1, 2, 4]), offsets),
        fingerprint(ids, np.array([1, 3, 2]), offsets),
        fingerprint(ids, tokens, np.array([0, 2, 3])),
    ]
    assert len({first, *others}) == 7


def test_rows_that_are_taken_have_their_own_lengths_and_fingerprint():
    tokens = large_list(np.array([5, 6, 7, 8], np.int32), np.array([0, 2, 3, 4]))
    table = pa.table({"problem_id": ["a", "b", "c"], "input_ids": tokens}).slice(1, 2)
    assert row_lengths(table).tolist() == [1, 1]
    expected = fingerprint(["b", "c"], np.array([7, 8]), np.array([0, 1, 2]))
    assert fingerprinted(table).schema.metadata[FINGERPRINT] == expected
