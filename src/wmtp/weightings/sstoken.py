"""ssToken's self-modulated half: learn what the policy has already begun to learn (Qin et al. 2025, arXiv 2510.18250)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wmtp.checks import require
from wmtp.weightings.base import Column, Needs, Weighting, WeightInputs

if TYPE_CHECKING:
    import torch

START_NLL = Column("start_nll", "artifacts/scores/start/s{seed}")
"""NLL under the run's policy before its first step, by head 0, nats."""


@dataclass(frozen=True)
class Sstoken(Weighting):
    """1 on the ceil(keep_frac * N_h) targets of each head with the largest retrospective excess, else 0.

    Retrospective excess: the initial policy's NLL minus the current one's. The paper's other half, a score from attention, is
    left out; its authors report this one alone too.
    """

    keep_frac: float = 0.6

    def __post_init__(self) -> None:
        require(0 < self.keep_frac <= 1, "weighting.keep_frac", self.keep_frac, "a number in (0, 1]")

    @property
    def needs(self) -> Needs:
        return Needs((START_NLL,), nll=True)

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        from wmtp.objectives.selection import select_top

        scores_BTH = inputs.of_targets(inputs.column(START_NLL)) - inputs.nll
        return select_top(scores_BTH, inputs.valid_BTH, inputs.positions_BT, self.keep_frac, inputs.gather)
