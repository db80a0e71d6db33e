"""ESLM: learn the targets of the highest risk (Bal et al. 2025, arXiv 2505.19893)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wmtp.checks import one_of, require
from wmtp.weightings.base import Needs, Weighting, WeightInputs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Eslm(Weighting):
    """1 on targets whose score is at or above its value-at-risk of level alpha, over each head's targets of the global batch.

    `score`: the policy's `loss` (then the objective is the conditional value-at-risk) or `entropy`. `alpha`: the share that
    is left out at most, see `value_at_risk`; 0.4 keeps what rho1 keeps, so that random is the control of both.
    """

    score: str = "loss"
    alpha: float = 0.4

    def __post_init__(self) -> None:
        one_of("weighting.score", self.score, ("loss", "entropy"))
        require(0 < self.alpha < 1, "weighting.alpha", self.alpha, "a number in (0, 1)")

    @property
    def needs(self) -> Needs:
        return Needs(nll=self.score == "loss", entropy=self.score == "entropy")

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        import torch

        from wmtp.objectives.selection import value_at_risk

        scores_BTH = inputs.nll if self.score == "loss" else inputs.entropy
        kept_BTH = torch.zeros_like(scores_BTH)
        for head, everywhere_N in inputs.by_head(scores_BTH):
            kept_BTH[..., head] = (scores_BTH[..., head] >= value_at_risk(everywhere_N, self.alpha)).float()
        return kept_BTH
