"""One training loader for every stage: global batches that are a pure function of seed and step."""

from __future__ import annotations

import numpy as np

from wmtp.tokens.data import Batch, TokenData

WINDOW_BATCHES = 32
"""Batches are cut from this many batches' examples sorted by length: random enough, and over 95 % real tokens."""


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
        self.data, self.batch_size, self.num_micro, self.seed = data, batch_size, num_micro, seed
        self.micro_tokens, self.shuffle = micro_tokens, shuffle
        self.rank, self.world_size = rank, world_size
        self._window: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def _permutation(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return self.data.selected
        return np.random.default_rng([self.seed, epoch]).permutation(self.data.selected)

    def _window_rows(self, window: int) -> np.ndarray:
        """(WINDOW_BATCHES, batch_size) row numbers: batches of similar lengths, in random order."""
        if self._window[0] != window:
            size, total = WINDOW_BATCHES * self.batch_size, len(self.data)
            start = window * size
            epochs = range(start // total, (start + size - 1) // total + 1)
            stream = np.concatenate([self._permutation(epoch) for epoch in epochs])
            taken = stream[start - epochs[0] * total :][:size]
            lengths = self.data.lengths(taken)
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
        return int(self.data.lengths(rows).sum())

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
