"""The control of verifiable: the same weights, at the wrong places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wmtp.weightings.base import WeightInputs
from wmtp.weightings.verifiable import Verifiable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Shuffled(Verifiable):
    """The verifiable weights, permuted (seeded) among each example's response tokens."""

    control_for: ClassVar[str] = "verifiable"

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        from wmtp.objectives.td import shuffle_response

        weights_BT = super().weights(inputs)
        return shuffle_response(weights_BT, inputs.prompt_lens_B, inputs.lengths_B, inputs.rows_B, inputs.seed)
