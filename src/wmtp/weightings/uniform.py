"""Every target weighs the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from wmtp.weightings.base import Weighting, WeightInputs


@dataclass(frozen=True)
class Uniform(Weighting):
    """1 on every valid target."""

    level: ClassVar[Literal["same", "positions", "targets"]] = "same"

    def weights(self, inputs: WeightInputs) -> None:
        return None
