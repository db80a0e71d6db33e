"""Token cleaning with fixed models: learn what tuning the reference improved most (Pang et al. 2025, arXiv 2502.01968)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wmtp.checks import require
from wmtp.weightings.base import REFERENCE_NLL, Column, Level, Needs, Weighting, WeightInputs

if TYPE_CHECKING:
    import torch

    from wmtp.objectives.selection import LastKept

BASE_NLL = Column("base_nll", "artifacts/scores/base/s{upstream}")
"""NLL under the reference before it was tuned, nats."""


@dataclass(frozen=True)
class TokenCleaning(Weighting):
    """1 on the ceil(keep_frac * N) of the dataset's N response tokens with the largest base minus reference NLL, else 0.

    Unlike a selection within batches, an example may keep all or nothing, and the choice is the same at every step.
    """

    level: ClassVar[Level] = "positions"
    keep_frac: float = 0.6

    def __post_init__(self) -> None:
        require(0 < self.keep_frac <= 1, "weighting.keep_frac", self.keep_frac, "a number in (0, 1]")

    @property
    def needs(self) -> Needs:
        return Needs((BASE_NLL, REFERENCE_NLL))

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        kept_BT = inputs.statistics.keeps(_improvement(inputs), inputs.dataset_positions_BT)
        return (kept_BT & inputs.response_BT).float()

    def measure(self, parts: Iterable[WeightInputs]) -> LastKept:
        """Where the selection ends; ties go to the tokens that come first in the dataset."""
        import torch

        from wmtp.objectives.selection import last_kept

        found = [(_improvement(part)[part.response_BT], part.dataset_positions_BT[part.response_BT]) for part in parts]
        scores_N, places_N = (torch.cat(values) for values in zip(*found, strict=True))
        last = last_kept(scores_N, places_N, self.keep_frac)
        if last is None:
            raise ValueError("no response tokens: there is nothing to select from")
        return last


def _improvement(inputs: WeightInputs) -> torch.Tensor:
    return inputs.column(BASE_NLL) - inputs.column(REFERENCE_NLL)
