"""Learn where the policy itself is undecided (arXiv 2506.01939)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wmtp.checks import require
from wmtp.weightings.base import Needs, Weighting, WeightInputs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Entropy(Weighting):
    """1 on the keep_frac of each head's targets at which its predictive entropy is largest, else 0."""

    keep_frac: float = 0.6

    def __post_init__(self) -> None:
        require(0 < self.keep_frac <= 1, "weighting.keep_frac", self.keep_frac, "a number in (0, 1]")

    @property
    def needs(self) -> Needs:
        return Needs(entropy=True)

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        from wmtp.objectives.selection import select_top

        return select_top(inputs.entropy, inputs.valid_BTH, inputs.positions_BT, self.keep_frac, inputs.gather)
