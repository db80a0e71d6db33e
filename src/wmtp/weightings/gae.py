"""Verifiable's weights from advantages that look further than one token (Schulman et al. 2015, arXiv 1506.02438)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from wmtp.checks import require
from wmtp.weightings.base import WeightInputs
from wmtp.weightings.verifiable import Verifiable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Gae(Verifiable):
    """As verifiable, of `A_t = delta_t + gamma * lambda * A_{t+1}` instead of the TD error delta_t.

    `lam`: lambda; 0 is verifiable. `alpha` in its place: max(0, 1 - 1 / (alpha * l)) for a response of l tokens, so that the
    weights lambda^k add up to alpha * l (VAPO, arXiv 2504.05118, which takes 0.05 for responses of thousands of tokens).
    """

    lam: Optional[float] = 0.95
    alpha: Optional[float] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (self.lam is None) != (self.alpha is None), "weighting.alpha", self.alpha, f"null, or lam=null (lam={self.lam})"
        )
        require(self.lam is None or 0 <= self.lam <= 1, "weighting.lam", self.lam, "a number in [0, 1]")
        require(self.alpha is None or self.alpha > 0, "weighting.alpha", self.alpha, "a positive number")

    def errors(self, inputs: WeightInputs) -> torch.Tensor:
        import torch

        from wmtp.objectives.returns import discounted_suffix_sum

        deltas_BT = super().errors(inputs)
        coefs_BT = (self.gamma * self._lambda(inputs)).unsqueeze(1).expand_as(deltas_BT)
        return torch.where(inputs.response_BT, discounted_suffix_sum(deltas_BT, coefs_BT), 0.0)

    def _lambda(self, inputs: WeightInputs) -> torch.Tensor:
        """Of every row, float64 (B,)."""
        import torch

        lengths_B = (inputs.lengths_B - inputs.prompt_lens_B).double()
        if self.lam is not None:
            return torch.full_like(lengths_B, self.lam)
        assert self.alpha is not None
        return (1 - 1 / (self.alpha * lengths_B)).clamp(min=0)
