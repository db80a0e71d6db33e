"""RHO-LOSS: the ancestor of Rho-1, which selects whole examples (Mindermann et al. 2022, arXiv 2206.07137)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wmtp.checks import require
from wmtp.weightings.base import REFERENCE_NLL, Needs, Weighting, WeightInputs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RhoLoss(Weighting):
    """1 on all targets of the ceil(keep_frac * B) examples with the largest mean excess loss, else 0.

    B counts the examples of the global batch that have a target; ties go to the earlier place in it. The paper keeps 0.1;
    0.6 is rho1's share, of which this is the control by example.
    """

    of_solutions: ClassVar[bool] = True
    keep_frac: float = 0.6

    def __post_init__(self) -> None:
        require(0 < self.keep_frac <= 1, "weighting.keep_frac", self.keep_frac, "a number in (0, 1]")

    @property
    def needs(self) -> Needs:
        return Needs((REFERENCE_NLL,), nll=True)

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        from wmtp.objectives.selection import excess_scores, select_top

        valid_BTH = inputs.valid_BTH
        excess_BTH = excess_scores(inputs.nll, inputs.of_targets(inputs.column(REFERENCE_NLL)), "signed").double()
        counts_B = valid_BTH.sum(dim=(1, 2))
        means_B = excess_BTH.masked_fill(~valid_BTH, 0.0).sum(dim=(1, 2)) / counts_B.clamp(min=1)
        kept_B11 = select_top(  # an example as a batch's row of one position and one head
            means_B.view(-1, 1, 1), (counts_B > 0).view(-1, 1, 1), inputs.slots_B.view(-1, 1), self.keep_frac, inputs.gather
        )
        return kept_B11.expand_as(excess_BTH)
