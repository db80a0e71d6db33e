"""A token table in memory: rows of tokens joined with score columns, collated into right-padded batches.

Shapes: B batch, T sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import pyarrow as pa
import torch

from wmtp.errors import DataError
from wmtp.tokens.tables import FINGERPRINT, read_meta, read_table
from wmtp.types import IGNORE_INDEX

ORDERED_TABLES = ("train", "critic")
"""The tables that `data.curriculum` puts in order."""

Solutions = Literal["all", "correct", "wrong"]

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True)
class TokenMeta:
    """What meta.json says about a folder of token tables. `is_ordered`: `ORDERED_TABLES` are in curriculum order.

    `vocab_size`: of the tokenizer; `largest_token_id`: of the rows, which may hold none of a tokenizer's last tokens.
    """

    vocab_size: int
    largest_token_id: int
    eos_token_id: int
    pad_token_id: int
    max_length: int
    is_ordered: bool

    @classmethod
    def read(cls, folder: Path) -> TokenMeta:
        """Of `folder/meta.json`.

        Raises:
            DataError: no such file, or a key that is missing or of another type.
        """
        meta = read_meta(folder)
        for key, kind in (
            ("vocab_size", int),
            ("largest_token_id", int),
            ("eos_token_id", int),
            ("pad_token_id", int),
            ("max_length", int),
            ("is_ordered", bool),
        ):
            if type(meta.get(key)) is not kind:
                raise DataError(f"{folder / 'meta.json'}: {key} is {meta.get(key)!r}, not of type {kind.__name__}")
        return cls(
            vocab_size=meta["vocab_size"],
            largest_token_id=meta["largest_token_id"],
            eos_token_id=meta["eos_token_id"],
            pad_token_id=meta["pad_token_id"],
            max_length=meta["max_length"],
            is_ordered=meta["is_ordered"],
        )

    @property
    def least_embeddings(self) -> int:
        """That a model needs to read the rows, padded."""
        return max(self.largest_token_id, self.eos_token_id, self.pad_token_id) + 1


@dataclass(frozen=True)
class Batch:
    """Right-padded rows. `slots_B`: the rows' places in the global batch; `columns`: per-token scores, 0 on padding.

    `labels_BT` are the tokens, IGNORE_INDEX where they are no targets (prompts, padding). Of packed rows alone:
    `segment_ids_BT`, the table's number of the piece that a token is of, -1 on padding; `position_ids_BT`, its place in it.
    """

    input_ids: torch.Tensor
    labels_BT: torch.Tensor
    prompt_lens_B: torch.Tensor
    lengths_B: torch.Tensor
    is_correct_B: torch.Tensor
    rows_B: torch.Tensor
    slots_B: torch.Tensor
    columns: dict[str, torch.Tensor]
    segment_ids_BT: torch.Tensor | None = None
    position_ids_BT: torch.Tensor | None = None

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """What a model is called with. By positions that start again, transformers keeps what attention sees to one piece."""
        if self.position_ids_BT is None:
            return {"input_ids": self.input_ids}
        return {"input_ids": self.input_ids, "position_ids": self.position_ids_BT}

    def to(self, device: torch.device) -> Batch:
        """The same on `device`. Towards an accelerator nobody waits: copies queue up behind what it has to do already."""
        fields = {name: _sent(value, device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return Batch(**fields, columns={name: _sent(value, device) for name, value in self.columns.items()})


def _sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """From pinned memory, without which a copy that is asked for without waiting waits; torch keeps that until it is over."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def ahead(items: Iterable[T], begin: Callable[[T], S]) -> Iterator[S]:
    """What `begin` makes of every item, one late: the next item is made and begun before a result is handed out.

    A device works on it meanwhile: the host makes a batch while the one before is computed, and whoever waits for a result
    leaves the device something to do.
    """
    coming = iter(items)
    for first in coming:
        result = begin(first)
        for item in coming:
            following = begin(item)
            yield result
            result = following
        yield result


@dataclass(frozen=True, eq=False)
class Segments:
    """The pieces of documents that packed rows hold, in order, over the whole table.

    `bounds`: piece s is tokens `bounds[s]` to `bounds[s + 1]` of the table's; `documents`: the document that it is of.
    """

    bounds: np.ndarray
    documents: np.ndarray

    @classmethod
    def of(cls, arrow: pa.Table) -> Segments | None:
        """Of a table; None where rows are not packed."""
        if "segment_lens" not in arrow.column_names:
            return None
        lens, _ = _flat(arrow, "segment_lens")
        documents, _ = _flat(arrow, "segment_documents")
        return cls(np.concatenate([[0], np.cumsum(lens, dtype=np.int64)]), documents)

    def find(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The piece that each token is of, by the token's place in the table, and its place in the piece."""
        number = np.searchsorted(self.bounds, index, side="right") - 1
        return number, index - self.bounds[number]


@dataclass(frozen=True, eq=False)
class TokenData:
    """A token table as flat memory-mapped arrays, with score columns joined by row, and the meta of its folder.

    Row i's tokens are `tokens[offsets[i] : offsets[i + 1]]`, and likewise in every one of `columns`. `selected` are the
    numbers of the rows in use; `arrow` is the table as it is on disk. `segments`: of packed rows; `is_target`: of every token,
    where it is not the prompt's length that says what is one.
    """

    path: Path
    meta: TokenMeta
    arrow: pa.Table
    fingerprint: bytes
    tokens: np.ndarray
    offsets: np.ndarray
    prompt_lens: np.ndarray
    is_correct: np.ndarray
    selected: np.ndarray
    columns: dict[str, np.ndarray]
    segments: Segments | None = None
    is_target: np.ndarray | None = None

    @classmethod
    def open(
        cls, folder: Path, table: str, *, columns: Mapping[str, Path] | None = None, solutions: Solutions = "all"
    ) -> TokenData:
        """`folder/<table>.arrow` (see the `sample` stage) and `folder/meta.json`.

        Args:
            columns: column name -> folder whose `<table>.arrow` has a column of that name.
            solutions: keep the rows of all, of correct or of wrong solutions.
        Raises:
            DataError: a missing file, no rows, or a column that was made from other data or is not finite.
        """
        path = folder / f"{table}.arrow"
        arrow = read_table(path)
        tokens, offsets = _flat(arrow, "input_ids")
        is_correct = arrow["is_correct"].to_numpy()
        kept = {"all": np.ones_like(is_correct), "correct": is_correct, "wrong": ~is_correct}[solutions]
        data = cls(
            path=path,
            meta=TokenMeta.read(folder),
            arrow=arrow,
            fingerprint=(arrow.schema.metadata or {}).get(FINGERPRINT, b""),
            tokens=tokens,
            offsets=offsets,
            prompt_lens=arrow["prompt_len"].to_numpy(),
            is_correct=is_correct,
            selected=np.flatnonzero(kept),
            columns={},
            segments=Segments.of(arrow),
            is_target=_flat(arrow, "is_target")[0] if "is_target" in arrow.column_names else None,
        )
        if not len(data):
            raise DataError(f"{path} has no {'' if solutions == 'all' else solutions + ' '}examples")
        joined = {name: data.read_column(name, place / path.name) for name, place in (columns or {}).items()}
        return replace(data, columns=joined)

    def __len__(self) -> int:
        return len(self.selected)

    @property
    def problem_ids(self) -> np.ndarray:
        """Of every row of the table, strings."""
        return np.asarray(self.arrow["problem_id"].to_pylist())

    @property
    def is_ordered(self) -> bool:
        """Whether the rows' order is a curriculum that training keeps."""
        return self.meta.is_ordered and self.path.stem in ORDERED_TABLES

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Tokens of each of `rows` (numbers in the table)."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def documents(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of `rows`, by what no token sees beyond: rows themselves or, of packed rows, the pieces that they hold.

        Returns:
            tokens of each; of every token its place in its own, and whether it is a target.
        """
        lengths = self.lengths(rows)
        place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        index, is_target = np.repeat(self.offsets[rows], lengths) + place, place >= np.repeat(self.prompt_lens[rows], lengths)
        if self.is_target is not None:
            is_target &= self.is_target[index]
        if self.segments is not None:
            number, place = self.segments.find(index)
            lengths = np.unique(number, return_counts=True)[1]
        return lengths, place, is_target

    def read_column(self, name: str, path: Path) -> np.ndarray:
        """The score column `name` of the table at `path`, flat like `tokens`.

        Raises:
            DataError: no such file, made from other data, or a score that is NaN or infinite.
        """
        if not path.exists():
            raise DataError(f"{path} does not exist: column {name!r} of {self.path.name} comes from there")
        table = read_table(path)
        made_for = (table.schema.metadata or {}).get(FINGERPRINT, b"")
        values, offsets = _flat(table, name)
        if made_for != self.fingerprint or not np.array_equal(offsets, self.offsets):
            raise DataError(
                f"{path} was made from another version of {self.path} ({len(offsets) - 1} rows against {len(self.offsets) - 1})"
            )
        finite = np.isfinite(values)
        if not finite.all():
            first = int(np.argmin(finite))
            row = int(np.searchsorted(offsets, first, side="right")) - 1
            raise DataError(
                f"{path}: {name} is {values[first]} at token {first - offsets[row]} of row {row} "
                f"({len(values) - finite.sum()} of {len(values)} scores are NaN or infinite)"
            )
        return values

    def collate(self, rows: Sequence[int] | np.ndarray, slots: Sequence[int] | np.ndarray) -> Batch:
        """Rows (numbers in the table) as one right-padded batch."""
        rows = np.asarray(rows, dtype=np.int64)
        starts, lengths = self.offsets[rows], self.lengths(rows)
        width = int(lengths.max(initial=1))
        position = np.arange(width)
        inside = position < lengths[:, None]
        index = np.where(inside, starts[:, None] + position, 0)
        ids = np.where(inside, self.tokens[index], self.meta.pad_token_id).astype(np.int64)
        prompt_lens = self.prompt_lens[rows].astype(np.int64)
        targets = inside & (position >= prompt_lens[:, None])
        if self.is_target is not None:
            targets &= self.is_target[index]
        labels = np.where(targets, ids, IGNORE_INDEX)
        return Batch(
            input_ids=torch.from_numpy(ids),
            labels_BT=torch.from_numpy(labels),
            prompt_lens_B=torch.from_numpy(prompt_lens),
            lengths_B=torch.from_numpy(lengths.astype(np.int64)),
            is_correct_B=torch.from_numpy(self.is_correct[rows].astype(np.float32)),
            rows_B=torch.from_numpy(rows),
            slots_B=torch.from_numpy(np.asarray(slots, dtype=np.int64)),
            columns={name: torch.from_numpy(np.where(inside, values[index], 0)) for name, values in self.columns.items()},
            **self._pieces(index, inside, position - lengths[:, None]),
        )

    def _pieces(self, index: np.ndarray, inside: np.ndarray, behind: np.ndarray) -> dict[str, torch.Tensor]:
        """What packed rows have beside. Padding is a piece of its own: `behind`, places counted from a row's end."""
        if self.segments is None:
            return {}
        number, place = self.segments.find(index)
        return {
            "segment_ids_BT": torch.from_numpy(np.where(inside, number, -1)),
            "position_ids_BT": torch.from_numpy(np.where(inside, place, behind)),
        }


def _flat(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A list column as flat values and N+1 offsets."""
    column = table[name].combine_chunks()
    offsets = column.offsets.to_numpy()
    values = column.values.to_numpy(zero_copy_only=False)
    return values[offsets[0] : offsets[-1]], (offsets - offsets[0]).astype(np.int64)


def sequential_batches(data: TokenData, *, batch_tokens: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
    """Every selected row once, shortest first, in batches of at most `batch_tokens` padded tokens (at least one row).

    Ranks take turns, and every rank gets the same number of batches (sharded models need that): where the last round
    is not full, a filler repeats a row with `rows_B` = -1 and no labels.
    """
    order = data.selected[np.argsort(data.lengths(data.selected), kind="stable")]
    lengths = data.lengths(order)
    parts, start = [], 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[stop] * (stop + 1 - start) <= batch_tokens:
            stop += 1
        parts.append(order[start:stop])
        start = stop
    for first in range(0, len(parts), world_size):
        if first + rank < len(parts):
            part = parts[first + rank]
            yield data.collate(part, np.arange(len(part)))
        else:
            batch = data.collate(order[:1], [0])
            ignored = torch.full_like(batch.labels_BT, IGNORE_INDEX)
            yield replace(batch, labels_BT=ignored, rows_B=torch.full_like(batch.rows_B, -1))


def pad_width(x: torch.Tensor, width: int, value: float = 0) -> torch.Tensor:
    """Pad dimension 1 on the right to `width`."""
    trailing = [0, 0] * (x.ndim - 2)
    return torch.nn.functional.pad(x, [*trailing, 0, width - x.shape[1]], value=value)


def join_batches(batches: Sequence[Batch]) -> Batch:
    """Micro-batches as one batch, padded to the longest (`input_ids` too: padding is never a target)."""
    if len(batches) == 1:
        return batches[0]
    width = max(batch.input_ids.shape[1] for batch in batches)
    names = ("prompt_lens_B", "lengths_B", "is_correct_B", "rows_B", "slots_B")
    fills = {"segment_ids_BT": -1, "position_ids_BT": 0} if batches[0].segment_ids_BT is not None else {}
    return replace(
        batches[0],
        input_ids=torch.cat([pad_width(batch.input_ids, width) for batch in batches]),
        labels_BT=torch.cat([pad_width(batch.labels_BT, width, IGNORE_INDEX) for batch in batches]),
        columns={name: torch.cat([pad_width(batch.columns[name], width) for batch in batches]) for name in batches[0].columns},
        **{name: torch.cat([getattr(batch, name) for batch in batches]) for name in names},
        **{
            name: torch.cat([pad_width(getattr(batch, name), width, fill) for batch in batches]) for name, fill in fills.items()
        },
    )
