"""Packing keeps every token once, cuts nothing that fits, and fills rows; its table opens as what went in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmtp.ledger import Ledger
from wmtp.tokens.data import Segments
from wmtp.tokens.packing import Encoded, packed_rows, pieces_of, write_packed

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def documents(sizes, masked=False):
    """Documents whose tokens are all different numbers, so that each tells where it belongs."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    made = []
    for i, size in enumerate(sizes):
        ids = list(range(int(starts[i]), int(starts[i]) + size))
        made.append(Encoded(i, f"data.jsonl:{i + 1}", ids, [token % 3 > 0 for token in ids] if masked else None))
    return made


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(5, 25), st.integers(1, 6))
def test_every_token_is_in_one_row_and_only_what_is_longer_than_a_row_is_cut(sizes, width, open_rows):
    pieces = [piece for document in documents(sizes) for piece in pieces_of(document, width)]
    rows = list(packed_rows(pieces, width, open_rows))
    assert all(0 < sum(len(piece.ids) for piece in row) <= width for row in rows)
    assert sorted(token for row in rows for piece in row for token in piece.ids) == list(range(sum(sizes)))
    for number, size in enumerate(sizes):
        own = [list(piece.ids) for row in rows for piece in row if piece.number == number]
        assert sorted(map(len, own), reverse=True) == [width] * (size // width) + [size % width] * (size % width > 0)
        assert [token for part in sorted(own) for token in part] == documents(sizes)[number].ids


def test_a_long_document_fills_rows_one_after_the_other():
    pieces = [piece for document in documents([3, 25, 2]) for piece in pieces_of(document, 10)]
    rows = [[(piece.number, len(piece.ids)) for piece in row] for row in packed_rows(pieces, 10)]
    assert rows == [[(1, 10)], [(1, 10)], [(0, 3), (1, 5), (2, 2)]]


def test_rows_are_nearly_full():
    sizes = np.random.default_rng(0).integers(5, 400, 3000).tolist()
    rows = list(packed_rows((piece for document in documents(sizes) for piece in pieces_of(document, 512)), 512))
    assert sum(sizes) / (512 * len(rows)) > 0.97


def test_a_piece_longer_than_a_row_is_refused():
    (piece,) = pieces_of(documents([9])[0], 9)
    with pytest.raises(ValueError, match="a piece of 9 tokens in rows of 8"):
        list(packed_rows([piece], 8))


@pytest.mark.parametrize("masked", [False, True])
def test_the_table_has_the_tokens_the_pieces_and_where_they_come_from(tmp_path, masked):
    ledger, sizes = Ledger(), [4, 23, 6, 1, 9]
    table = write_packed(tmp_path / "train.arrow", documents(sizes, masked), 10, ledger, has_masks=masked)
    ledger.check()
    assert ledger.counts() == {
        "table/train/pieces/read": 5,
        "table/train/pieces/made/more_of_long_documents": 2,
        "table/train/pieces/kept": 7,
        "table/train/rows/read": 7,
        "table/train/rows/dropped/share_a_row": 7 - table.num_rows,
        "table/train/rows/kept": table.num_rows,
    }
    segments, seen = Segments.of(table), []
    ids = np.concatenate(table["input_ids"].to_pylist())
    for row in table.to_pylist():
        assert len(row["input_ids"]) == sum(row["segment_lens"]) <= 10
        assert row["segment_places"] == [f"data.jsonl:{number + 1}" for number in row["segment_documents"]]
        assert row.get("is_target", None) == ([token % 3 > 0 for token in row["input_ids"]] if masked else None)
    for number in range(len(segments.documents)):
        piece = ids[segments.bounds[number] : segments.bounds[number + 1]]
        start = sum(sizes[: segments.documents[number]])
        assert start <= piece[0] and piece[-1] < start + sizes[segments.documents[number]]
        seen += piece.tolist()
    assert sorted(seen) == list(range(sum(sizes))) and list(tmp_path.iterdir()) == [tmp_path / "train.arrow"]
    other = write_packed(tmp_path / "other.arrow", documents([4, 23, 6, 1, 8]), 10, Ledger(), has_masks=False)
    assert other.schema.metadata != table.schema.metadata
