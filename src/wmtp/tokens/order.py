"""Which rows make up which global batch: a pure function of seed and step, the same for every number of ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WINDOW_BATCHES = 32
"""At most so many batches' rows are sorted by length before batches are cut from them: over 95 % real tokens."""

WINDOWS_PER_EPOCH = 3
"""At least so many windows where the data are few: sorting all rows by length makes the same batches every epoch."""


@dataclass(frozen=True)
class _Epoch:
    """How one epoch's rows fall into batches.

    `head` rows complete the batch that the epoch before has begun, `num_batches` whole batches follow from step
    `first_step` on, and `tail` rows begin the batch that the next epoch's head completes. The whole batches are cut from
    `num_windows` windows of `window` batches; the last one has half as many to half as many more.
    """

    number: int
    first_step: int
    head: int
    num_batches: int
    tail: int
    window: int

    @classmethod
    def of(cls, number: int, num_rows: int, batch_size: int, most: int) -> _Epoch:
        """`most`: batches of a window."""
        first, end = -(-number * num_rows // batch_size), (number + 1) * num_rows // batch_size
        head, tail = first * batch_size - number * num_rows, (number + 1) * num_rows - end * batch_size
        window = max(1, min(most, num_rows // batch_size // WINDOWS_PER_EPOCH))
        return cls(number, first, head, end - first, tail, window)

    @property
    def num_windows(self) -> int:
        return max(1, (self.num_batches + self.window // 2) // self.window)


class BatchOrder:
    """Endless global batches of distinct rows of similar lengths.

    One after the other, the batches spell out one permutation of all rows after another: at every step, the times that
    any two rows have come differ by one at most. An epoch's permutation is cut into windows, a window is sorted by length
    and cut into batches, and these come in random order. Where epochs do not end with a batch, one batch holds the last
    rows of an epoch and the first of the next: those are of similar lengths, out of their epoch's last window, and these
    are the rows of the first window that are nearest to them in length and not among them.

    Args:
        lengths: tokens of every row.
        shuffle: False takes the rows' own order (a curriculum's) instead of permutations of it: a window is one batch.
    Raises:
        ValueError: fewer rows than a batch has.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, *, seed: int, shuffle: bool = True) -> None:
        if batch_size > len(lengths):
            raise ValueError(
                f"global_batch_size={batch_size} is more than the {len(lengths)} examples there are: "
                f"no batch holds an example twice, so at most {len(lengths)} are allowed"
            )
        self.lengths, self.batch_size, self.seed, self.shuffle = lengths, batch_size, seed, shuffle
        self._newest: tuple[tuple[int, int], np.ndarray] = ((-1, -1), np.empty(0, dtype=np.int64))

    def rows(self, step: int) -> np.ndarray:
        """Places in `lengths` of the step's rows, (batch_size,), all different."""
        epoch = self._epoch(step * self.batch_size // len(self.lengths))
        place = step - epoch.first_step
        if place == epoch.num_batches:
            return self._cached(epoch, epoch.num_windows)[0]
        window = min(place // epoch.window, epoch.num_windows - 1)
        return self._cached(epoch, window)[place - window * epoch.window]

    def _epoch(self, number: int) -> _Epoch:
        return _Epoch.of(number, len(self.lengths), self.batch_size, WINDOW_BATCHES if self.shuffle else 1)

    def _cached(self, epoch: _Epoch, window: int) -> np.ndarray:
        """A window's batches, (batches, batch_size); the window after an epoch's last is the batch it shares with the next."""
        if self._newest[0] != (epoch.number, window):
            batches = self._shared(epoch) if window == epoch.num_windows else self._batches(epoch, window)
            self._newest = ((epoch.number, window), batches)
        return self._newest[1]

    def _batches(self, epoch: _Epoch, window: int) -> np.ndarray:
        rows = self._window(epoch, window)
        if window == 0 and epoch.head:
            rows = _without(rows, self._head(epoch, self._tail(self._epoch(epoch.number - 1))))
        if window == epoch.num_windows - 1 and epoch.tail:
            rows = _without(rows, self._tail(epoch))
        batches = self._by_length(rows).reshape(-1, self.batch_size)
        if self.shuffle:
            batches = batches[np.random.default_rng([self.seed, window, 1, epoch.number]).permutation(len(batches))]
        return batches

    def _shared(self, epoch: _Epoch) -> np.ndarray:
        tail = self._tail(epoch)
        return np.concatenate([tail, self._head(self._epoch(epoch.number + 1), tail)])[None]

    def _window(self, epoch: _Epoch, window: int) -> np.ndarray:
        """The rows of a window, in the epoch's order: the first one's include the head, the last one's the tail."""
        order = np.arange(len(self.lengths))
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch.number]).permutation(order)
        size = epoch.window * self.batch_size
        start = epoch.head + window * size if window else 0
        return order[start:] if window == epoch.num_windows - 1 else order[start : epoch.head + (window + 1) * size]

    def _tail(self, epoch: _Epoch) -> np.ndarray:
        """The epoch's last rows.

        They do not depend on the epochs before, unless the epoch has no whole batch (fewer than two batches of rows):
        then they are what its head leaves over, and the heads are followed from the last epoch that has one.
        """
        start = epoch
        while not start.num_batches:
            start = self._epoch(start.number - 1)
        rows = self._by_length(self._window(start, start.num_windows - 1))
        last = len(rows) - start.tail
        place = int(np.random.default_rng([self.seed, start.number, 2]).integers(last + 1)) if self.shuffle else last
        tail = rows[place : place + start.tail]
        for number in range(start.number + 1, epoch.number + 1):
            between = self._epoch(number)
            tail = self._by_length(_without(self._window(between, 0), self._head(between, tail)))
        return tail

    def _head(self, epoch: _Epoch, before: np.ndarray) -> np.ndarray:
        """The epoch's first rows, which share a batch with `before`, the tail of the epoch before."""
        rows = _without(self._window(epoch, 0), before)
        if epoch.num_windows == 1 and epoch.num_batches:
            rows = _without(rows, self._tail(epoch))
        rows = self._by_length(rows)
        nearest = int(np.searchsorted(self.lengths[rows], np.median(self.lengths[before])))
        start = min(max(0, nearest - epoch.head // 2), len(rows) - epoch.head)
        return rows[start : start + epoch.head]

    def _by_length(self, rows: np.ndarray) -> np.ndarray:
        return rows[np.argsort(self.lengths[rows], kind="stable")]


def _without(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    return rows[~np.isin(rows, others)]
