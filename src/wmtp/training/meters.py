"""Metrics that stay on the device between flushes: ratios of sums and maxima, reduced over ranks once a flush."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.distributed as dist

from wmtp.distributed import World


@dataclass
class StepMetrics:
    """What one step measured on this rank.

    `ratios`: name -> (numerator, denominator), summed over ranks and steps before the division.
    `maxima`: name -> value, the largest over ranks and steps.
    `broken`: what must never be -> whether it is, a boolean on the device; the loop ends the run at the next flush.
    """

    ratios: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    maxima: dict[str, torch.Tensor] = field(default_factory=dict)
    broken: dict[str, torch.Tensor] = field(default_factory=dict)


class Meters:
    """Accumulates `StepMetrics`; `flush` is the only place that waits for the device."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._sums: dict[str, torch.Tensor] = {}
        self._maxima: dict[str, torch.Tensor] = {}

    def add(self, metrics: StepMetrics) -> None:
        for name, (numerator, denominator) in metrics.ratios.items():
            pair = torch.stack([numerator.detach().double(), denominator.detach().double()])
            self._sums[name] = self._sums[name] + pair if name in self._sums else pair
        for name, value in metrics.maxima.items():
            value = value.detach().double()
            self._maxima[name] = torch.maximum(self._maxima[name], value) if name in self._maxima else value

    def flush(self) -> dict[str, float]:
        """Global values since the last flush, the same on every rank."""
        row: dict[str, float] = {}
        if self._sums:
            sums = self.world.all_reduce(torch.stack(list(self._sums.values())))
            values = (sums[:, 0] / sums[:, 1]).tolist()
            row.update(
                {name: value for name, value in zip(self._sums, values, strict=True) if value == value or name == "train/loss"}
            )
        if self._maxima:
            maxima = self.world.all_reduce(torch.stack(list(self._maxima.values())), op=dist.ReduceOp.MAX)
            row.update(zip(self._maxima, maxima.tolist(), strict=True))
        self._sums, self._maxima = {}, {}
        if "weight/second_moment" in row:
            row["weight/std"] = math.sqrt(max(0.0, row.pop("weight/second_moment") - row["weight/mean"] ** 2))
            row["weight/min"] = -row.pop("weight/negative_min")
        return row
