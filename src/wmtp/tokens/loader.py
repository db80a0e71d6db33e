"""One loader for every stage: token rows joined with score columns, batches that are a pure function of seed and step.

Shapes: B batch, T sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from wmtp.errors import DataError
from wmtp.tokens.tables import read_table
from wmtp.types import IGNORE_INDEX

WINDOW_BATCHES = 32
"""Batches are cut from this many batches' examples sorted by length: random enough, and over 95 % real tokens."""


@dataclass(frozen=True)
class Batch:
    """Right-padded rows. `slots_B`: the rows' places in the global batch; `columns`: per-token scores, 0 on padding.

    `labels_BT` are the tokens, IGNORE_INDEX on the prompt and on padding.
    """

    input_ids: torch.Tensor
    labels_BT: torch.Tensor
    prompt_lens_B: torch.Tensor
    lengths_B: torch.Tensor
    is_correct_B: torch.Tensor
    rows_B: torch.Tensor
    slots_B: torch.Tensor
    columns: dict[str, torch.Tensor]

    def to(self, device: torch.device) -> Batch:
        fields = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return Batch(**fields, columns={name: value.to(device) for name, value in self.columns.items()})


class Rows:
    """A token table as flat memory-mapped arrays, with score columns joined by row.

    Args:
        path: an Arrow table with `input_ids`, `prompt_len`, `is_correct`, ... (see the `sample` stage).
        scores: column name -> folder that holds a table of the same file name with that column.
        correct_only: keep rows of correct solutions only.
    Raises:
        DataError: no rows, or a score table that was made from other data.
    """

    def __init__(self, path: Path, scores: Mapping[str, Path] | None = None, *, correct_only: bool = False) -> None:
        table = read_table(path)
        self.path = path
        self.fingerprint = (table.schema.metadata or {}).get(b"wmtp_fingerprint", b"")
        self.tokens, self.offsets = _flat(table, "input_ids")
        self.prompt_lens = table["prompt_len"].to_numpy()
        self.is_correct = table["is_correct"].to_numpy()
        self.problem_ids = table["problem_id"]
        self.table = table
        self.columns = {name: self._join(name, folder / path.name) for name, folder in (scores or {}).items()}
        everything = np.arange(len(self.prompt_lens))
        self.selected = everything[self.is_correct] if correct_only else everything
        if not len(self.selected):
            raise DataError(f"{path} has no {'correct ' if correct_only else ''}examples")

    def _join(self, name: str, path: Path) -> np.ndarray:
        if not path.exists():
            raise DataError(f"{path} does not exist: column {name!r} of {self.path.name} comes from there")
        table = read_table(path)
        made_for = (table.schema.metadata or {}).get(b"wmtp_fingerprint", b"")
        values, offsets = _flat(table, name)
        if made_for != self.fingerprint or not np.array_equal(offsets, self.offsets):
            raise DataError(
                f"{path} was made from another version of {self.path} ({len(offsets) - 1} rows against {len(self.offsets) - 1})"
            )
        return values

    def __len__(self) -> int:
        return len(self.selected)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of every selected row."""
        return (self.offsets[1:] - self.offsets[:-1])[self.selected]

    def collate(self, rows: Sequence[int] | np.ndarray, slots: Sequence[int] | np.ndarray, pad_token_id: int) -> Batch:
        """Rows (numbers in the table) as one right-padded batch."""
        rows = np.asarray(rows, dtype=np.int64)
        starts, lengths = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        width = int(lengths.max(initial=1))
        position = np.arange(width)
        inside = position < lengths[:, None]
        index = np.where(inside, starts[:, None] + position, 0)
        ids = np.where(inside, self.tokens[index], pad_token_id).astype(np.int64)
        prompt_lens = self.prompt_lens[rows].astype(np.int64)
        labels = np.where(inside & (position >= prompt_lens[:, None]), ids, IGNORE_INDEX)
        return Batch(
            input_ids=torch.from_numpy(ids),
            labels_BT=torch.from_numpy(labels),
            prompt_lens_B=torch.from_numpy(prompt_lens),
            lengths_B=torch.from_numpy(lengths.astype(np.int64)),
            is_correct_B=torch.from_numpy(self.is_correct[rows].astype(np.float32)),
            rows_B=torch.from_numpy(rows),
            slots_B=torch.from_numpy(np.asarray(slots, dtype=np.int64)),
            columns={name: torch.from_numpy(np.where(inside, values[index], 0)) for name, values in self.columns.items()},
        )


def _flat(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A list column as flat values and N+1 offsets."""
    column = table[name].combine_chunks()
    offsets = column.offsets.to_numpy()
    values = column.values.to_numpy(zero_copy_only=False)
    return values[offsets[0] : offsets[-1]], (offsets - offsets[0]).astype(np.int64)


class TrainLoader:
    """Global batches of a fixed number of examples, endless.

    The order is the concatenation of seeded permutations of the data, cut into windows of `WINDOW_BATCHES` batches whose
    examples are sorted by length; nothing is ever dropped. It depends on seed and step only, so resuming needs no state
    but the step, and every number of ranks sees the same global batches.

    Args:
        batch_size: examples of one global batch.
        num_micro: micro-batches that a global batch is cut into (accumulation steps).
        micro_tokens: instead, padded tokens that one rank's micro-batch may hold (at least one example is taken).
        shuffle: False takes the table's order (a curriculum) instead of permutations of it.
        rank, world_size: each micro-batch is dealt out to the ranks.
    Raises:
        ValueError: batch_size is not divisible by num_micro * world_size.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        batch_size: int,
        num_micro: int = 1,
        micro_tokens: int | None = None,
        shuffle: bool = True,
        seed: int,
        pad_token_id: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size % (num_micro * world_size):
            raise ValueError(
                f"global_batch_size={batch_size} cannot be divided by {num_micro} micro-batches x {world_size} ranks"
            )
        self.rows, self.batch_size, self.num_micro, self.seed = rows, batch_size, num_micro, seed
        self.micro_tokens, self.shuffle = micro_tokens, shuffle
        self.pad_token_id, self.rank, self.world_size = pad_token_id, rank, world_size
        self._window: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def _permutation(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return self.rows.selected
        return np.random.default_rng([self.seed, epoch]).permutation(self.rows.selected)

    def _window_rows(self, window: int) -> np.ndarray:
        """(WINDOW_BATCHES, batch_size) row numbers: batches of similar lengths, in random order."""
        if self._window[0] != window:
            size, total = WINDOW_BATCHES * self.batch_size, len(self.rows)
            start = window * size
            epochs = range(start // total, (start + size - 1) // total + 1)
            stream = np.concatenate([self._permutation(epoch) for epoch in epochs])
            taken = stream[start - epochs[0] * total :][:size]
            lengths = self.rows.offsets[taken + 1] - self.rows.offsets[taken]
            batches = taken[np.argsort(lengths, kind="stable")].reshape(WINDOW_BATCHES, self.batch_size)
            if self.shuffle:
                batches = batches[np.random.default_rng([self.seed, window, 1]).permutation(WINDOW_BATCHES)]
            self._window = (window, batches)
        return self._window[1]

    def global_rows(self, step: int) -> np.ndarray:
        """Row numbers of the step's whole global batch."""
        return self._window_rows(step // WINDOW_BATCHES)[step % WINDOW_BATCHES]

    def num_tokens(self, step: int) -> int:
        """Real tokens of the step's whole global batch."""
        rows = self.global_rows(step)
        return int((self.rows.offsets[rows + 1] - self.rows.offsets[rows]).sum())

    def micro_batches(self, step: int) -> list[Batch]:
        """This rank's share of the step's micro-batches, as many for every rank."""
        rows = self.global_rows(step)
        parts = np.split(np.arange(self.batch_size), self.num_micro) if self.micro_tokens is None else self._by_tokens(rows)
        mine = [part[self.rank :: self.world_size] for part in parts]
        return [self.rows.collate(rows[part], part, self.pad_token_id) for part in mine]

    def _by_tokens(self, rows: np.ndarray) -> list[np.ndarray]:
        """Slots in groups, shortest first, each rank's share of a group being within the budget."""
        assert self.micro_tokens is not None
        lengths = self.rows.offsets[rows + 1] - self.rows.offsets[rows]
        slots = np.argsort(lengths, kind="stable")
        longest = lengths[slots][self.world_size - 1 :: self.world_size]  # of each round of one example per rank
        groups, start = [], 0
        for end in range(1, len(longest) + 1):
            if end == len(longest) or longest[end] * (end + 1 - start) > self.micro_tokens:
                groups.append(slots[start * self.world_size : end * self.world_size])
                start = end
        return groups


def sequential_batches(
    rows: Rows, *, batch_tokens: int, pad_token_id: int, rank: int = 0, world_size: int = 1
) -> Iterator[Batch]:
    """Every selected row once, shortest first, in batches of at most `batch_tokens` padded tokens (at least one row).

    Ranks take turns, and every rank gets the same number of batches (sharded models need that): where the last round
    is not full, a filler repeats a row with `rows_B` = -1 and no labels.
    """
    order = rows.selected[np.argsort(rows.lengths, kind="stable")]
    lengths = rows.offsets[order + 1] - rows.offsets[order]
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
            yield rows.collate(part, np.arange(len(part)), pad_token_id)
        else:
            batch = rows.collate(order[:1], [0], pad_token_id)
            ignored = torch.full_like(batch.labels_BT, IGNORE_INDEX)
            yield replace(batch, labels_BT=ignored, rows_B=torch.full_like(batch.rows_B, -1))
