"""Soft Rho-1: weights by a softmax of the excess loss instead of a selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wmtp.checks import require
from wmtp.weightings.base import REFERENCE_NLL, Needs, Weighting, WeightInputs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rho1Soft(Weighting):
    """softmax(excess / temperature) over each head's valid targets of the global batch x their count, clipped."""

    temperature: float = 1.0
    clip_min: float = 0.0
    clip_max: float = 5.0

    def __post_init__(self) -> None:
        require(self.temperature > 0, "weighting.temperature", self.temperature, "a positive number")
        require(0 <= self.clip_min < self.clip_max, "weighting.clip_min", self.clip_min, f"in [0, clip_max={self.clip_max})")

    @property
    def needs(self) -> Needs:
        return Needs((REFERENCE_NLL,), nll=True)

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        import torch

        from wmtp.objectives.selection import excess_scores

        reference_BTH = inputs.of_targets(inputs.column(REFERENCE_NLL))
        logits_BTH = excess_scores(inputs.nll, reference_BTH, "signed") / self.temperature
        weights_BTH = torch.zeros_like(logits_BTH)
        for head, everywhere_N in inputs.by_head(logits_BTH):
            log_total = torch.logsumexp(everywhere_N.double(), dim=0)
            share = (logits_BTH[..., head].double() - log_total).exp() * everywhere_N.numel()
            weights_BTH[..., head] = share.clamp(self.clip_min, self.clip_max).to(weights_BTH.dtype)
        return weights_BTH
