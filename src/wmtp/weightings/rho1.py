"""Rho-1: learn the targets whose loss exceeds a reference model's most (Lin et al. 2024, arXiv 2404.07965)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wmtp.checks import one_of, require
from wmtp.weightings.base import REFERENCE_NLL, LossShape, Needs, Weighting, WeightInputs

if TYPE_CHECKING:
    import torch

    from wmtp.objectives.linear_nll import ScaleGuess

MODES = ("signed", "absolute", "difficult")


@dataclass(frozen=True)
class Rho1(Weighting):
    """1 on the ceil(keep_frac * N_h) targets of each head with the largest score, else 0.

    `mode`: the score, see `excess_scores`. `always_keep_head0`: all targets of head 0 besides.
    """

    keep_frac: float = 0.6
    mode: str = "signed"
    always_keep_head0: bool = False

    def __post_init__(self) -> None:
        require(0 < self.keep_frac <= 1, "weighting.keep_frac", self.keep_frac, "a number in (0, 1]")
        one_of("weighting.mode", self.mode, MODES)

    @property
    def needs(self) -> Needs:
        return Needs((REFERENCE_NLL,), nll=True)

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        from wmtp.objectives.selection import excess_scores, select_top

        scores_BTH = excess_scores(inputs.nll, inputs.of_targets(inputs.column(REFERENCE_NLL)), self.mode)
        kept_BTH = select_top(scores_BTH, inputs.valid_BTH, inputs.positions_BT, self.keep_frac, inputs.gather)
        if self.always_keep_head0:
            kept_BTH[..., 0] = inputs.valid_BTH[..., 0].float()
        return kept_BTH

    def guess(self, inputs: WeightInputs, counts_H: torch.Tensor, loss: LossShape) -> ScaleGuess:
        """A kept target's scale is known ahead, up to one factor, by how many targets each head keeps."""
        import torch

        from wmtp.objectives.loss import target_scale
        from wmtp.objectives.selection import LikelySelection, num_to_keep

        keep_frac_H = [self.keep_frac] * len(counts_H)
        if self.always_keep_head0:
            keep_frac_H[0] = 1.0
        normaliser = counts_H
        if loss.reduction == "position_mean":
            normaliser = torch.ones(1, device=counts_H.device)
        elif loss.normalise == "mean_one":
            kept_H = [num_to_keep(frac, int(count)) for frac, count in zip(keep_frac_H, counts_H.tolist(), strict=True)]
            normaliser = torch.tensor(kept_H, device=counts_H.device)
        scale_BTH = target_scale(
            inputs.labels_BTH, reduction=loss.reduction, normalise=loss.normalise, normaliser=normaliser.double()
        )
        reference_BTH = inputs.of_targets(inputs.column(REFERENCE_NLL))
        return LikelySelection(reference_BTH, scale_BTH.float(), keep_frac_H, self.mode)
