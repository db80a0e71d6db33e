"""Documents in rows of one width: whole where they fit, several to a row, each a piece that sees no other.

Pieces go, in their order, to the open row with the least room that still holds them (best fit): a row closes when it is full,
or when too many are open. Nothing is cut but what is longer than a row, which fills rows of its own, one after the other, and
whose rest is a piece like any other.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from wmtp.ledger import Ledger
from wmtp.tokens.tables import FINGERPRINT, fingerprint, large_list, read_table, write_table

OPEN_ROWS = 512
"""Rows that wait for something that fits at the same time."""


@dataclass(frozen=True)
class Encoded:
    """A document's tokens. `is_target`: which of them are learnt to be predicted; None for all."""

    number: int
    place: str
    ids: Sequence[int]
    is_target: Sequence[bool] | None = None


@dataclass(frozen=True)
class Piece:
    """A document or a part of one: `number` and `place` are the document's."""

    number: int
    place: str
    ids: np.ndarray
    is_target: np.ndarray


def pieces_of(document: Encoded, width: int) -> list[Piece]:
    """The document, in parts of `width` tokens where it is longer; the last one is what is left."""
    ids = np.asarray(document.ids, dtype=np.int32)
    targets = np.ones(len(ids), dtype=bool) if document.is_target is None else np.asarray(document.is_target, dtype=bool)
    parts = range(0, len(ids), width)
    return [Piece(document.number, document.place, ids[i : i + width], targets[i : i + width]) for i in parts]


def packed_rows(pieces: Iterable[Piece], width: int, open_rows: int = OPEN_ROWS) -> Iterator[list[Piece]]:
    """Rows of at most `width` tokens that hold every piece once, a row's in the pieces' order; a function of the pieces alone.

    Raises:
        ValueError: a piece that is longer than a row.
    """
    rooms: list[tuple[int, int]] = []  # of every open row: how much it still holds, and its number; the least first
    rows: dict[int, list[Piece]] = {}
    number = 0
    for piece in pieces:
        size = len(piece.ids)
        if size > width:
            raise ValueError(f"a piece of {size} tokens in rows of {width}")
        place = bisect.bisect_left(rooms, (size, -1))
        if place < len(rooms):
            room, row = rooms.pop(place)
        else:
            room, row, number = width, number, number + 1
            rows[row] = []
        rows[row].append(piece)
        if room == size:
            yield rows.pop(row)
            continue
        bisect.insort(rooms, (room - size, row))
        if len(rooms) > open_rows:
            yield rows.pop(rooms.pop(0)[1])
    for _, row in sorted(rooms, key=lambda each: each[1]):
        yield rows.pop(row)


def write_packed(path: Path, documents: Iterable[Encoded], width: int, ledger: Ledger, *, has_masks: bool) -> pa.Table:
    """A token table of packed rows, whose tokens wait on the disk until it is written.

    Beside what every token table has, a row has of each of its pieces `segment_lens` (tokens), `segment_documents` (the
    document's number) and `segment_places` (where it stands), and `is_target` of every token where there are masks. Everything
    counts as right and without noise: nobody said otherwise.

    Args:
        ledger: gets `table/NAME` in pieces and in rows.
    Returns:
        the table, as it lies there.
    """
    lines = {unit: ledger.line(f"table/{path.stem}", unit) for unit in ("pieces", "rows")}
    scratch = path.with_name(f".{path.stem}.tokens")

    def pieces() -> Iterator[Piece]:
        for document in documents:
            found = pieces_of(document, width)
            lines["pieces"].read()
            lines["pieces"].make("more_of_long_documents", len(found) - 1)
            yield from found

    written = _Written(has_masks)
    try:
        with scratch.open("wb") as tokens:
            for row in packed_rows(pieces(), width):
                tokens.writelines(piece.ids.tobytes() for piece in row)
                written.add(row)
                lines["rows"].read(len(row))
        lines["pieces"].keep(len(written.lens))
        lines["rows"].drop("share_a_row", len(written.lens) - len(written.row_lens))
        lines["rows"].keep(len(written.row_lens))
        write_table(path, written.table(scratch))
    finally:
        scratch.unlink(missing_ok=True)
    return read_table(path)


class _Written:
    """What is known of the rows so far, tokens aside: plain numbers, eight bytes each, and masks."""

    def __init__(self, has_masks: bool) -> None:
        self.row_lens, self.num_pieces, self.lens, self.documents = array("q"), array("q"), array("q"), array("q")
        self.places: list[str] = []
        self.masks = bytearray() if has_masks else None

    def add(self, row: Sequence[Piece]) -> None:
        self.row_lens.append(sum(len(piece.ids) for piece in row))
        self.num_pieces.append(len(row))
        for piece in row:
            self.lens.append(len(piece.ids))
            self.documents.append(piece.number)
            self.places.append(piece.place)
            if self.masks is not None:
                self.masks += piece.is_target.tobytes()

    def table(self, scratch: Path) -> pa.Table:
        """All columns; `scratch` has the tokens."""
        offsets, of_rows, bounds = (_offsets(counts) for counts in (self.row_lens, self.num_pieces, self.lens))
        number, ids = len(self.row_lens), np.memmap(scratch, dtype=np.int32, mode="r") if self.lens else np.empty(0, np.int32)
        columns = {
            "problem_id": pa.array([self.places[first] for first in of_rows[:-1]], pa.string()),
            "input_ids": large_list(ids, offsets),
            "prompt_len": pa.array(np.zeros(number, dtype=np.int32)),
            "is_correct": pa.array(np.ones(number, dtype=bool)),
            "noise_kind": pa.array([""] * number, pa.string()),
            "is_noise": large_list(np.zeros(len(ids), dtype=bool), offsets),
            "segment_lens": large_list(np.asarray(self.lens, dtype=np.int32), of_rows),
            "segment_documents": large_list(np.asarray(self.documents), of_rows),
            "segment_places": pa.LargeListArray.from_arrays(pa.array(of_rows), pa.array(self.places, pa.string())),
        }
        if self.masks is not None:
            columns["is_target"] = large_list(np.frombuffer(self.masks, dtype=bool), offsets)
        return pa.table(columns).replace_schema_metadata({FINGERPRINT: fingerprint(self.places, ids, bounds)})


def _offsets(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))]).astype(np.int64)
