"""Weights from what each token changed in a critic's estimate that the solution is correct."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wmtp.checks import one_of, require
from wmtp.weightings.base import VALUE, Level, Needs, Weighting, WeightInputs

if TYPE_CHECKING:
    import torch

    from wmtp.objectives.td import TDStatistics


@dataclass(frozen=True)
class Verifiable(Weighting):
    """clip(exp(z / beta), clip_min, clip_max), z the TD error whitened over the dataset (AWR, arXiv 1910.00177).

    `initial_value`: V before the first response token is the critic's value of the `prompt`, or a `half`.
    """

    level: ClassVar[Level] = "positions"
    of_solutions: ClassVar[bool] = True
    beta: float = 0.9
    clip_min: float = 0.1
    clip_max: float = 3.0
    gamma: float = 1.0
    initial_value: str = "prompt"

    def __post_init__(self) -> None:
        require(self.beta > 0, "weighting.beta", self.beta, "a positive number")
        require(0 <= self.clip_min < self.clip_max, "weighting.clip_min", self.clip_min, f"in [0, clip_max={self.clip_max})")
        require(0 < self.gamma <= 1, "weighting.gamma", self.gamma, "a number in (0, 1]")
        one_of("weighting.initial_value", self.initial_value, ("prompt", "half"))

    @property
    def needs(self) -> Needs:
        return Needs((VALUE,))

    def errors(self, inputs: WeightInputs) -> torch.Tensor:
        """The quantity that is whitened, (B, T), 0 outside the response."""
        from wmtp.objectives.returns import td_errors

        return td_errors(
            inputs.column(VALUE),
            inputs.is_correct_B,
            inputs.prompt_lens_B,
            inputs.lengths_B,
            gamma=self.gamma,
            initial_value=self.initial_value,
        )

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        from wmtp.objectives.td import td_weights

        errors_BT = self.errors(inputs)
        return td_weights(errors_BT, inputs.statistics, beta=self.beta, clip_min=self.clip_min, clip_max=self.clip_max)

    def measure(self, parts: Iterable[WeightInputs]) -> TDStatistics:
        from wmtp.objectives.td import spread

        return spread((self.errors(part), int(part.response_BT.sum())) for part in parts)
