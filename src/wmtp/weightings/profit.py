"""ProFit: leave out the targets that the policy finds improbable (Liu et al. 2026, arXiv 2601.09195)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wmtp.checks import require
from wmtp.weightings.base import Needs, Weighting, WeightInputs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Profit(Weighting):
    """1 on targets whose probability under the policy is above `threshold` (0.1 in the authors' code), else 0.

    The paper starts from a pre-trained model. From scratch nothing is probable, and what is never learnt never becomes so:
    `warmup_frac` of the steps weigh every target 1 in place of that pre-training, and so does at any step a head none of
    whose targets of the global batch is above the threshold (`weight/selected_head<h>` is 1 then).
    """

    threshold: float = 0.1
    warmup_frac: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.threshold < 1, "weighting.threshold", self.threshold, "a probability in [0, 1)")
        require(0 <= self.warmup_frac < 1, "weighting.warmup_frac", self.warmup_frac, "a number in [0, 1)")

    @property
    def needs(self) -> Needs:
        return Needs(nll=True)

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        if inputs.step < self.warmup_frac * inputs.num_steps:
            return inputs.valid_BTH.float()
        passes_BTH = inputs.valid_BTH & ((-inputs.nll).exp() > self.threshold)
        num_heads = passes_BTH.shape[-1]
        any_H = inputs.gather(passes_BTH.sum(dim=(0, 1))).view(-1, num_heads).sum(dim=0) > 0
        return (passes_BTH | (inputs.valid_BTH & ~any_H)).float()
