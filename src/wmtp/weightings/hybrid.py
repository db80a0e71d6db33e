"""Rho-1's selection, and verifiable's weights on what it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wmtp.weightings.base import Needs, WeightInputs
from wmtp.weightings.rho1 import Rho1
from wmtp.weightings.verifiable import Verifiable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Hybrid(Verifiable):
    """rho1 selection x verifiable weight. The selection belongs to targets; the arm's alignment is the weight's."""

    keep_frac: float = 0.6
    mode: str = "signed"

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self._selection

    @property
    def _selection(self) -> Rho1:
        return Rho1(keep_frac=self.keep_frac, mode=self.mode)

    @property
    def needs(self) -> Needs:
        return super().needs | self._selection.needs

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        return self._selection.weights(inputs) * inputs.expand(super().weights(inputs))
