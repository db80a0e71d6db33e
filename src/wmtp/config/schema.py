"""The typed configuration. One frozen dataclass per section of params.yaml; DVC tracks the sections.

Every field is read somewhere. Ranges are checked when a section is built, with the section's name in the error.
"""

from __future__ import annotations

from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Optional

from wmtp.checks import one_of, require
from wmtp.config.arms import ArmConfig, ColumnConfig, RunConfig
from wmtp.config.data import DataConfig
from wmtp.config.devices import is_part
from wmtp.config.evaluation import EvaluateConfig, ReportConfig
from wmtp.config.inputs import DownloadConfig, InputsConfig
from wmtp.config.runtime import RuntimeConfig
from wmtp.config.training import (
    HeadsConfig,
    ModelConfig,
    NextTokenModelConfig,
    OptimConfig,
    SeededTrainConfig,
    TrainConfig,
    check_optimizer,
)

# --------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class TuneReferenceConfig:
    model: NextTokenModelConfig = field(default_factory=NextTokenModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: SeededTrainConfig = field(default_factory=SeededTrainConfig)

    def __post_init__(self) -> None:
        check_optimizer(self.model, self.optim, self.train, "tune_reference")


_UNREAD = NextTokenModelConfig()
"""A critic's model where it starts from the reference."""


@dataclass(frozen=True)
class CriticConfig:
    """`init`: `reference` starts from the tuned reference, `scratch` from `model`. `reference_nll_input` feeds it the
    reference NLL of the token just seen. `lambda_*`: 1.0 held, then linear to `lambda_final`."""

    init: str = "reference"
    reference_nll_input: bool = True
    head: str = "linear"
    dropout: float = 0.0
    loss: str = "mse"
    gamma: float = 1.0
    lambda_final: float = 1.0
    lambda_hold_steps: int = 300
    lambda_ramp_steps: int = 600
    model: NextTokenModelConfig = field(default_factory=lambda: _UNREAD)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: SeededTrainConfig = field(default_factory=SeededTrainConfig)

    def __post_init__(self) -> None:
        check_optimizer(self.model, self.optim, self.train, "train_critic")
        one_of("train_critic.init", self.init, ("reference", "scratch"))
        one_of("train_critic.head", self.head, ("linear", "mlp"))
        one_of("train_critic.loss", self.loss, ("mse", "bce", "huber"))
        require(0 <= self.dropout < 1, "train_critic.dropout", self.dropout, "a number in [0, 1)")
        require(0 < self.gamma <= 1, "train_critic.gamma", self.gamma, "a number in (0, 1]")
        require(0 <= self.lambda_final <= 1, "train_critic.lambda_final", self.lambda_final, "a number in [0, 1]")
        for key in ("lambda_hold_steps", "lambda_ramp_steps"):
            require(getattr(self, key) >= 0, f"train_critic.{key}", getattr(self, key), "0 or more")
        if self.init == "reference":
            _require_usual(self.model, _UNREAD, "train_critic.model")


def _require_usual(given: Any, usual: Any, where: str) -> None:
    """Raises ConfigError: a key of the critic's model is given where the critic starts from the reference."""
    for key, value in vars(given).items():
        default = getattr(usual, key)
        if is_dataclass(value):
            _require_usual(value, default, f"{where}.{key}")
            continue
        hint = "or init=scratch: with init=reference the critic starts from the tuned reference, and nothing reads this"
        require(value == default, f"{where}.{key}", value, f"{'null' if default is None else default}, {hint}")


@dataclass(frozen=True)
class ScoreConfig:
    """Scoring passes: one forward over every training example.

    `dtype` is computed in, NLLs are float32 in either case: bfloat16 halves time and memory where the trainings compute in it,
    and moves single scores by what that rounds.
    """

    batch_tokens: int = 8192
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require(self.batch_tokens > 0, "score.batch_tokens", self.batch_tokens, "a positive whole number")
        one_of("score.dtype", self.dtype, ("float32", "bfloat16"))


@dataclass(frozen=True)
class TrainPolicyConfig:
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)

    def __post_init__(self) -> None:
        check_optimizer(self.model, self.optim, self.train, "train_policy")
        self.heads.check(self.model, self.train.steps)


# --------------------------------------------------------------------------------------- all of it


@dataclass(frozen=True)
class Config:
    """params.yaml, whole."""

    profile: str
    inputs: InputsConfig
    data: DataConfig
    tune_reference: TuneReferenceConfig
    score: ScoreConfig
    train_critic: CriticConfig
    train_policy: TrainPolicyConfig
    evaluate: EvaluateConfig
    report: ReportConfig
    runtime: RuntimeConfig
    arms: dict[str, ArmConfig]
    runs: dict[str, RunConfig]
    columns: dict[str, dict[str, ColumnConfig]]
    downloads: dict[str, DownloadConfig]


@dataclass(frozen=True)
class LaunchConfig:
    """Where and how processes run. Reaches no hash; results do not depend on it. See configs/launch/.

    `devices`: ids of this machine's, of which a stage takes one for each rank (`auto`: all of them, as `nproc_per_node`
    may be); without them, `slots`: stages with accelerators at once (Slurm: jobs);
    `lease`: an absolute folder on a file system of several hosts, which share the slots then; `lease_s`: after how long
    without a sign of its holder a slot is taken over, in seconds;
    `srun`: options of srun's; `sandbox_workers`: for each node;
    `collective_timeout_s`: how long a rank waits for the others before the stage fails, in seconds;
    `peak_flops`: of one device in the dtype that is computed in, FLOP/s, for `perf/mfu`; null: what its maker says of it.
    """

    nproc_per_node: int = 2
    nnodes: int = 1
    threads_per_process: int = 1
    device: str = "auto"
    slots: int = 1
    devices: list[str] = field(default_factory=list)
    launcher: str = "local"
    tracking_uri: Optional[str] = None
    sandbox_workers: int = 2
    collective_timeout_s: int = 600
    lease: Optional[str] = None
    lease_s: int = 60
    srun: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    peak_flops: Optional[float] = None

    def __post_init__(self) -> None:
        numbers = (
            "nproc_per_node",
            "nnodes",
            "threads_per_process",
            "slots",
            "sandbox_workers",
            "collective_timeout_s",
            "lease_s",
        )
        for key in numbers:
            require(getattr(self, key) > 0, f"launch.{key}", getattr(self, key), "a positive whole number")
        peak = self.peak_flops
        require(peak is None or peak > 0, "launch.peak_flops", peak, "FLOP/s of one device, or null for what is known of it")
        one_of("launch.device", self.device, ("auto", "cpu", "cuda"))
        one_of("launch.launcher", self.launcher, ("local", "slurm"))
        is_slurm = self.launcher == "slurm"
        require(is_slurm or self.nnodes == 1, "launch.nnodes", self.nnodes, "1, or launch.launcher=slurm")
        require(not (is_slurm and self.devices), "launch.devices", self.devices, "empty with Slurm, which gives a job its own")
        is_place = self.lease is None or Path(self.lease).is_absolute()
        require(is_place, "launch.lease", self.lease, "an absolute path: the same folder for all hosts")
        require(
            not (self.lease and self.devices), "launch.lease", self.lease, "absent beside launch.devices, which are a host's"
        )
        repeated = len(set(self.devices)) != len(self.devices)
        require(not repeated, "launch.devices", self.devices, "every device once")
        joined = self.nproc_per_node == 1 or not any(map(is_part, self.devices))
        require(
            joined, "launch.nproc_per_node", self.nproc_per_node, "1 (WMTP_NPROC=1) with MIG devices, which NCCL cannot join"
        )
        fits = not self.devices or (self.nproc_per_node <= len(self.devices) and self.slots == 1)
        allowed = f"at most {len(self.devices)} ranks, one for each of launch.devices, and no launch.slots beside them"
        require(fits, "launch.nproc_per_node", self.nproc_per_node, allowed)
        require(is_slurm or not self.srun, "launch.srun", self.srun, "empty, or launch.launcher=slurm")
