"""One training loader for every stage: a step's global batch, cut into micro-batches and dealt out to the ranks."""

from __future__ import annotations

import numpy as np

from wmtp.tokens.data import Batch, TokenData
from wmtp.tokens.order import BatchOrder


class TrainLoader:
    """Global batches of a fixed number of distinct examples, endless.

    Which examples depends on seed and step only (see `BatchOrder`), so resuming needs no state but the step, and every
    number of ranks sees the same global batches.

    Args:
        batch_size: examples of one global batch.
        num_micro: micro-batches that a global batch is cut into (accumulation steps).
        micro_tokens: instead, padded tokens that one rank's micro-batch may hold (at least one example is taken).
        shuffle: False takes the table's order (a curriculum) instead of permutations of it.
        rank, world_size: each micro-batch is dealt out to the ranks.
    Raises:
        ValueError: batch_size is not divisible by num_micro * world_size, or more than there are examples.
    """

    def __init__(
        self,
        data: TokenData,
        *,
        batch_size: int,
        num_micro: int = 1,
        micro_tokens: int | None = None,
        shuffle: bool = True,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size % (num_micro * world_size):
            raise ValueError(
                f"global_batch_size={batch_size} cannot be divided by {num_micro} micro-batches x {world_size} ranks"
            )
        self.data, self.batch_size, self.num_micro, self.micro_tokens = data, batch_size, num_micro, micro_tokens
        self.rank, self.world_size = rank, world_size
        self._order = BatchOrder(data.lengths(data.selected), batch_size, seed=seed, shuffle=shuffle)

    def global_rows(self, step: int) -> np.ndarray:
        """Row numbers of the step's whole global batch."""
        return self.data.selected[self._order.rows(step)]

    def num_tokens(self, step: int) -> int:
        """Real tokens of the step's whole global batch."""
        return int(self.data.lengths(self.global_rows(step)).sum())

    def micro_batches(self, step: int) -> list[Batch]:
        """This rank's share of the step's micro-batches, as many for every rank."""
        rows = self.global_rows(step)
        parts = np.split(np.arange(self.batch_size), self.num_micro) if self.micro_tokens is None else self._by_tokens(rows)
        mine = [part[self.rank :: self.world_size] for part in parts]
        return [self.data.collate(rows[part], part) for part in mine]

    def _by_tokens(self, rows: np.ndarray) -> list[np.ndarray]:
        """Slots in groups, shortest first, each rank's share of a group being within the budget."""
        assert self.micro_tokens is not None
        lengths = self.data.lengths(rows)
        slots = np.argsort(lengths, kind="stable")
        longest = lengths[slots][self.world_size - 1 :: self.world_size]  # of each round of one example per rank
        groups, start = [], 0
        for end in range(1, len(longest) + 1):
            if end == len(longest) or longest[end] * (end + 1 - start) > self.micro_tokens:
                groups.append(slots[start * self.world_size : end * self.world_size])
                start = end
        return groups
