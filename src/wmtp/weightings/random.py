"""The control of a selection: as many targets, chosen blindly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wmtp.checks import require
from wmtp.weightings.base import Weighting, WeightInputs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Random(Weighting):
    """1 on a seeded random keep_frac of each head's targets, else 0; another choice at every step."""

    control_for: ClassVar[str] = "rho1"
    keep_frac: float = 0.6

    def __post_init__(self) -> None:
        require(0 < self.keep_frac <= 1, "weighting.keep_frac", self.keep_frac, "a number in (0, 1]")

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        import torch

        from wmtp.objectives.hashing import hashed_uniform
        from wmtp.objectives.selection import select_top

        heads_H = torch.arange(inputs.labels_BTH.shape[-1], device=inputs.labels_BTH.device)
        step = torch.full_like(heads_H, inputs.step)
        scores_BTH = hashed_uniform(inputs.seed, inputs.positions_BT.unsqueeze(-1), heads_H, step)
        return select_top(scores_BTH, inputs.valid_BTH, inputs.positions_BT, self.keep_frac, inputs.gather)
