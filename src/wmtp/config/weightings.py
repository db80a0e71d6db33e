"""Every weighting's own keys. The functions are `wmtp.objectives.weighting.ARMS`."""

from __future__ import annotations

from dataclasses import dataclass

from wmtp.checks import one_of, require


@dataclass(frozen=True)
class Uniform:
    """1 on every valid target."""


@dataclass(frozen=True)
class Rho1:
    """1 on the ceil(keep_frac * N_h) targets of each head with the largest score, else 0."""

    keep_frac: float = 0.6
    mode: str = "signed"
    always_keep_head0: bool = False

    def __post_init__(self) -> None:
        require(0 < self.keep_frac <= 1, "weighting.keep_frac", self.keep_frac, "a number in (0, 1]")
        one_of("weighting.mode", self.mode, ("signed", "absolute", "difficult"))


@dataclass(frozen=True)
class Random:
    """As rho1 with a seeded random selection of the same size."""

    keep_frac: float = 0.6

    def __post_init__(self) -> None:
        require(0 < self.keep_frac <= 1, "weighting.keep_frac", self.keep_frac, "a number in (0, 1]")


@dataclass(frozen=True)
class Entropy(Random):
    """Top `keep_frac` targets of each head by the policy's own predictive entropy."""


@dataclass(frozen=True)
class Rho1Soft:
    """softmax(excess / temperature) over the valid targets x their count, clipped."""

    temperature: float = 1.0
    clip_min: float = 0.0
    clip_max: float = 5.0

    def __post_init__(self) -> None:
        require(self.temperature > 0, "weighting.temperature", self.temperature, "a positive number")
        require(0 <= self.clip_min < self.clip_max, "weighting.clip_min", self.clip_min, f"in [0, clip_max={self.clip_max})")


@dataclass(frozen=True)
class Verifiable:
    """clip(exp(z(td_error) / beta), clip_min, clip_max), td_error from the critic's per-token values."""

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


@dataclass(frozen=True)
class Shuffled(Verifiable):
    """The verifiable weights, permuted (seeded) among each example's response tokens."""


@dataclass(frozen=True)
class Hybrid(Verifiable):
    """rho1 selection x verifiable weight."""

    keep_frac: float = 0.6
    mode: str = "signed"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.keep_frac <= 1, "weighting.keep_frac", self.keep_frac, "a number in (0, 1]")
        one_of("weighting.mode", self.mode, ("signed", "absolute", "difficult"))


WeightingConfig = Uniform | Rho1 | Random | Entropy | Rho1Soft | Verifiable | Shuffled | Hybrid

WEIGHTINGS: dict[str, type] = {
    "uniform": Uniform,
    "rho1": Rho1,
    "random": Random,
    "entropy": Entropy,
    "rho1_soft": Rho1Soft,
    "verifiable": Verifiable,
    "shuffled": Shuffled,
    "hybrid": Hybrid,
}
"""`weighting.name` of an arm -> its own keys. The functions themselves are `wmtp.objectives.weighting.ARMS`."""

NEEDS_REFERENCE = ("rho1", "rho1_soft", "hybrid")
NEEDS_VALUE = ("verifiable", "shuffled", "hybrid")
