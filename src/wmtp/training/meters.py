"""Metrics that stay on the device between flushes: ratios of sums and extremes, reduced over ranks once a flush."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from wmtp.distributed import World
from wmtp.tokens.data import Batch


@dataclass
class StepMetrics:
    """What one step measured on this rank.

    `ratios`: name -> (numerator, denominator), summed over ranks and steps before the division.
    `maxima`, `minima`: name -> value, the largest or smallest over ranks and steps.
    `broken`: what must never be -> whether it is, a boolean on the device; the loop ends the run at the next flush.
    """

    ratios: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    maxima: dict[str, torch.Tensor] = field(default_factory=dict)
    minima: dict[str, torch.Tensor] = field(default_factory=dict)
    broken: dict[str, torch.Tensor] = field(default_factory=dict)


def add_ratio(metrics: StepMetrics, name: str, numerator: torch.Tensor, denominator: torch.Tensor | float) -> None:
    """Add to a ratio of sums, over a step's micro-batches. Both are on one device, or `denominator` is a plain number."""
    if not isinstance(denominator, torch.Tensor):
        denominator = torch.full((), denominator, device=numerator.device)  # copied, it would be waited for
    numerator, denominator = numerator.detach().double(), denominator.detach().double()
    before = metrics.ratios.get(name)
    metrics.ratios[name] = (numerator, denominator) if before is None else (before[0] + numerator, before[1] + denominator)


def add_batch_ratios(metrics: StepMetrics, batch: Batch) -> None:
    """What a batch says of the data: its real tokens, and its right solutions."""
    add_ratio(metrics, "data/valid_token_ratio", batch.lengths_B.sum(), batch.input_ids.numel())
    add_ratio(metrics, "data/correct_frac", batch.is_correct_B.sum(), len(batch.is_correct_B))


class Meters:
    """Accumulates `StepMetrics`; `flush` is the only place that waits for the device."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._sums: dict[str, torch.Tensor] = {}
        self._extremes: dict[tuple[str, int], torch.Tensor] = {}
        """(name, sign) -> the largest value of sign * metric: a minimum is a maximum of negatives."""

    def add(self, metrics: StepMetrics) -> None:
        for name, (numerator, denominator) in metrics.ratios.items():
            pair = torch.stack([numerator.detach().double(), denominator.detach().double()])
            self._sums[name] = self._sums[name] + pair if name in self._sums else pair
        for values, sign in ((metrics.maxima, 1), (metrics.minima, -1)):
            for name, value in values.items():
                value, key = sign * value.detach().double(), (name, sign)
                self._extremes[key] = torch.maximum(self._extremes[key], value) if key in self._extremes else value

    def local_state(self) -> dict[str, Any]:
        """What this rank has measured since the last flush."""
        return {"sums": self._sums, "extremes": self._extremes}

    def restore_local(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from what one or more ranks had measured."""
        for state in states:
            for name, pair in state["sums"].items():
                pair = pair.to(self.world.device)
                self._sums[name] = self._sums[name] + pair if name in self._sums else pair
            for key, value in state["extremes"].items():
                value = value.to(self.world.device)
                self._extremes[key] = torch.maximum(self._extremes[key], value) if key in self._extremes else value

    def flush(self) -> dict[str, float]:
        """Global values since the last flush, the same on every rank; a ratio of nothing to nothing is left out."""
        row: dict[str, float] = {}
        if self._sums:
            sums = self.world.all_reduce(torch.stack(list(self._sums.values()))).tolist()
            row |= {name: above / below for name, (above, below) in zip(self._sums, sums, strict=True) if below}
        if self._extremes:
            largest = self.world.all_reduce(torch.stack(list(self._extremes.values())), op=dist.ReduceOp.MAX).tolist()
            row |= {name: sign * value for (name, sign), value in zip(self._extremes, largest, strict=True)}
        self._sums, self._extremes = {}, {}
        return row
