"""Dynamic fine-tuning: the likelihood's gradient without its implicit 1/p (Wu et al. 2025, arXiv 2508.05629)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wmtp.weightings.base import Needs, Weighting, WeightInputs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Dft(Weighting):
    """p, the policy's own probability of the target, detached.

    The paper does not make the weights mean one: `normalise: none` is its loss.
    """

    @property
    def needs(self) -> Needs:
        return Needs(nll=True)

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        return (-inputs.nll).exp()
