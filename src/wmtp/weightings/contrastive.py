"""Contrastive estimation: what right solutions say and wrong ones do not (Lin et al. 2024, arXiv 2411.19943)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wmtp.checks import require
from wmtp.weightings.base import REFERENCE_NLL, Column, Level, Needs, Weighting, WeightInputs

if TYPE_CHECKING:
    import torch

WRONG_NLL = Column("wrong_nll", "artifacts/scores/wrong/s{upstream}")
"""NLL under a reference tuned on wrong solutions, nats."""


@dataclass(frozen=True)
class Contrastive(Weighting):
    """clip(exp((log p_right - log p_wrong) / beta), clip_min, clip_max) of each token.

    The paper weighs the terms of a token-level DPO with the contrast of the two models; here it weighs the likelihood.
    """

    level: ClassVar[Level] = "positions"
    of_solutions: ClassVar[bool] = True
    beta: float = 1.0
    clip_min: float = 0.1
    clip_max: float = 3.0

    def __post_init__(self) -> None:
        require(self.beta > 0, "weighting.beta", self.beta, "a positive number")
        require(0 <= self.clip_min < self.clip_max, "weighting.clip_min", self.clip_min, f"in [0, clip_max={self.clip_max})")

    @property
    def needs(self) -> Needs:
        return Needs((REFERENCE_NLL, WRONG_NLL))

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        contrast_BT = inputs.column(WRONG_NLL) - inputs.column(REFERENCE_NLL)
        return (contrast_BT / self.beta).exp().clamp(self.clip_min, self.clip_max)
