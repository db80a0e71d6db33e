"""Every target weighs the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from wmtp.weightings.base import Level, Weighting, WeightInputs


@dataclass(frozen=True)
class Uniform(Weighting):
    """1 on every valid target."""

    level: ClassVar[Level] = "same"

    def weights(self, inputs: WeightInputs) -> None:
        return None
