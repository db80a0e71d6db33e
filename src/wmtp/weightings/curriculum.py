"""A curriculum over the heads, around any other weighting (Aynetdinov and Akbik 2025, arXiv 2505.22757)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wmtp.checks import one_of, require
from wmtp.weightings.base import Needs, Weighting, WeightInputs, target_weights
from wmtp.weightings.uniform import Uniform

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Curriculum(Weighting):
    """`inner`'s weights on the first k heads, 0 on the others; k changes with the step s of n, S = ramp_frac * n.

    `direction`: `forward` goes from next-token to multi-token prediction, k = min(H, floor(s H / S) + 1); `reverse` goes back,
    k = max(1, H - floor(s H / S)). Head 0 is always on. `ramp_frac` 1, every k for as many steps, is the paper's.
    """

    direction: str = "forward"
    ramp_frac: float = 1.0
    inner: Weighting = field(default=Uniform())

    def __post_init__(self) -> None:
        one_of("weighting.direction", self.direction, ("forward", "reverse"))
        require(0 < self.ramp_frac <= 1, "weighting.ramp_frac", self.ramp_frac, "a number in (0, 1]")

    @property
    def has_alignment(self) -> bool:
        return self.inner.has_alignment

    @property
    def needs(self) -> Needs:
        return self.inner.needs

    def num_heads(self, num_heads: int, step: int, num_steps: int) -> int:
        """How many of the heads are on at this step."""
        switched = int(step * num_heads / (self.ramp_frac * num_steps) + 1e-9)
        return min(num_heads, switched + 1) if self.direction == "forward" else max(1, num_heads - switched)

    def weights(self, inputs: WeightInputs) -> torch.Tensor:
        weights_BTH = target_weights(self.inner, inputs)
        weights_BTH = inputs.valid_BTH.float() if weights_BTH is None else weights_BTH.clone()
        weights_BTH[..., self.num_heads(weights_BTH.shape[-1], inputs.step, inputs.num_steps) :] = 0.0
        return weights_BTH

    def measure(self, parts: Iterable[WeightInputs]) -> Any:
        return self.inner.measure(parts)
