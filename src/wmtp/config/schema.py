"""The typed configuration. One frozen dataclass per section of params.yaml; DVC tracks the sections.

Every field is read somewhere. Ranges are checked when a section is built, with the section's name in the error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Optional

from wmtp import tasksets
from wmtp.checks import one_of, require
from wmtp.config.arms import ArmConfig, ColumnConfig, RunConfig
from wmtp.config.training import ModelConfig, OptimConfig, SeededTrainConfig, TrainConfig, check_optimizer

# --------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class NoiseConfig:
    """Web-like noise in the policy's training mix: shares of all solutions, by kind."""

    frac: float = 0.5
    comments: float = 0.45
    boilerplate: float = 0.25
    corrupted: float = 0.15
    mismatched: float = 0.15

    def __post_init__(self) -> None:
        require(0 <= self.frac <= 1, "data.noise.frac", self.frac, "a number in [0, 1]")
        kinds = (self.comments, self.boilerplate, self.corrupted, self.mismatched)
        require(min(kinds) >= 0, "data.noise", kinds, "shares are not negative")
        require(abs(sum(kinds) - 1) < 1e-6, "data.noise", kinds, "the four kinds' shares add up to 1")


@dataclass(frozen=True)
class TokenizerConfig:
    """`path`: a Hugging Face tokenizer (folder or hub id); without it, byte-pair merges are learnt from the data."""

    path: Optional[str] = None
    vocab_size: int = 768

    def __post_init__(self) -> None:
        require(self.vocab_size >= 260, "data.tokenizer.vocab_size", self.vocab_size, "at least 260 (256 bytes + specials)")


@dataclass(frozen=True)
class DataConfig:
    """What `sample` reads and what it keeps. Counts are problems unless they say otherwise.

    `operations`: the synthetic catalogue. `difficulty_weights`: shares of the bins that the edges `difficulty_bins` cut
    (one more than edges), beside them `unknown_difficulty_weight` for problems of unknown difficulty; empty takes
    difficulties as they come. `max_bad_frac`: share of the training file's rows that may be broken; they are counted.
    `labels`: of given solutions: `verified` by running them, `trusted`, or `sampled`: `verified_frac` of them is run, and the
    share of wrong labels found is reported. `timeouts`: whether a solution given as wrong that only runs out of time is used
    as `wrong` or `dropped`. `limit_margin`: the problems' time and memory limits are multiplied by it, so that only who is too
    slow or too large anywhere fails. `max_tests`: tests of a problem that a label is made from, null for all. `mutants`: `any`
    that fails, or `late`: rather one that passes the first test.
    """

    source: str = "synthetic"
    operations: str = "core"
    train_path: Optional[str] = None
    validation_path: Optional[str] = None
    seed: int = 0
    num_problems: Optional[int] = 6000
    num_reference_problems: int = 1500
    num_validation_problems: int = 300
    num_test_problems: int = 150
    max_per_problem: int = 2
    correct_ratio: Optional[float] = None
    pairwise: bool = True
    curriculum: bool = False
    difficulty_bins: list[int] = field(default_factory=list)
    difficulty_weights: list[float] = field(default_factory=list)
    unknown_difficulty_weight: float = 0.0
    max_bad_frac: float = 0.001
    heldout_frac: float = 0.2
    mutants_per_solution: int = 1
    mutants: str = "any"
    labels: str = "verified"
    verified_frac: float = 0.05
    timeouts: str = "wrong"
    limit_margin: float = 1.0
    max_tests: Optional[int] = None
    max_length: int = 192
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)

    def __post_init__(self) -> None:
        one_of("data.source", self.source, tasksets.names())
        taskset = tasksets.get(self.source)
        require(not taskset.not_for_training, "data.source", self.source, taskset.not_for_training)
        for key in ("num_reference_problems", "num_validation_problems", "num_test_problems", "max_per_problem", "max_length"):
            require(getattr(self, key) > 0, f"data.{key}", getattr(self, key), "a positive whole number")
        require(
            self.num_problems is None or self.num_problems > 0,
            "data.num_problems",
            self.num_problems,
            "positive, or null for all",
        )
        require(self.mutants_per_solution >= 0, "data.mutants_per_solution", self.mutants_per_solution, "0 or more")
        one_of("data.mutants", self.mutants, ("any", "late"))
        one_of("data.timeouts", self.timeouts, ("wrong", "dropped"))
        require(1 <= self.limit_margin < math.inf, "data.limit_margin", self.limit_margin, "a number, 1 or more")
        require(self.max_tests is None or self.max_tests > 0, "data.max_tests", self.max_tests, "positive, or null for all")
        self._check_labels()
        require(0 < self.heldout_frac < 1, "data.heldout_frac", self.heldout_frac, "a number in (0, 1)")
        one_of("data.operations", self.operations, ("core", "all"))
        bins, weights = self.difficulty_bins, self.difficulty_weights
        require(bins == sorted(set(bins)), "data.difficulty_bins", bins, "rising edges")
        fits = (not bins and not weights) or len(weights) == len(bins) + 1
        require(fits, "data.difficulty_weights", weights, f"{len(bins) + 1} shares for {len(bins)} edges, or both lists empty")
        require(
            not weights or (min(weights) >= 0 and max(weights) > 0), "data.difficulty_weights", weights, "shares, not all 0"
        )
        unknown = self.unknown_difficulty_weight
        require(
            unknown >= 0 and (not unknown or bool(weights)),
            "data.unknown_difficulty_weight",
            unknown,
            "0, or a share beside data.difficulty_weights",
        )
        require(0 <= self.max_bad_frac < 1, "data.max_bad_frac", self.max_bad_frac, "a number in [0, 1)")
        pairs = self.max_per_problem >= 2 or not self.pairwise
        require(pairs, "data.max_per_problem", self.max_per_problem, "at least 2 where data.pairwise is true")
        single = self.mutants_per_solution <= 1 or not self.pairwise
        require(single, "data.mutants_per_solution", self.mutants_per_solution, "0 or 1 where data.pairwise is true")
        ratio = self.correct_ratio
        require(ratio is None or 0 <= ratio <= 1, "data.correct_ratio", ratio, "a number in [0, 1], or null for the data's own")
        if not self.is_generated:
            for key in ("train_path", "validation_path"):
                require(
                    getattr(self, key) is not None, f"data.{key}", None, f"source={self.source} reads this file: give its path"
                )

    def _check_labels(self) -> None:
        one_of("data.labels", self.labels, ("verified", "trusted", "sampled"))
        require(0 < self.verified_frac <= 1, "data.verified_frac", self.verified_frac, "a number in (0, 1]")
        if self.labels != "verified":
            require(not self.is_generated, "data.labels", self.labels, "verified where the source makes its own solutions")
            allowed = f"0 where data.labels={self.labels}: what is made of a solution is only known if that was run"
            require(self.mutants_per_solution == 0, "data.mutants_per_solution", self.mutants_per_solution, allowed)
            require(self.noise.frac == 0, "data.noise.frac", self.noise.frac, allowed)

    @property
    def is_generated(self) -> bool:
        """Whether the source makes its problems itself instead of reading files."""
        return tasksets.get(self.source).is_generated


# --------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class TuneReferenceConfig:
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: SeededTrainConfig = field(default_factory=SeededTrainConfig)

    def __post_init__(self) -> None:
        check_optimizer(self.model, self.optim, "tune_reference")
        n_future = self.model.n_future
        require(n_future == 1, "tune_reference.model.n_future", n_future, "1: the reference is a next-token model")


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
    lambda_final: float = 0.997
    lambda_hold_steps: int = 300
    lambda_ramp_steps: int = 600
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: SeededTrainConfig = field(default_factory=SeededTrainConfig)

    def __post_init__(self) -> None:
        check_optimizer(self.model, self.optim, "train_critic")
        one_of("train_critic.init", self.init, ("reference", "scratch"))
        one_of("train_critic.head", self.head, ("linear", "mlp"))
        one_of("train_critic.loss", self.loss, ("mse", "bce", "huber"))
        require(0 <= self.dropout < 1, "train_critic.dropout", self.dropout, "a number in [0, 1)")
        require(0 < self.gamma <= 1, "train_critic.gamma", self.gamma, "a number in (0, 1]")
        require(0 <= self.lambda_final <= 1, "train_critic.lambda_final", self.lambda_final, "a number in [0, 1]")
        for key in ("lambda_hold_steps", "lambda_ramp_steps"):
            require(getattr(self, key) >= 0, f"train_critic.{key}", getattr(self, key), "0 or more")


@dataclass(frozen=True)
class ScoreConfig:
    """Scoring passes: one forward over every training example."""

    batch_tokens: int = 8192

    def __post_init__(self) -> None:
        require(self.batch_tokens > 0, "score.batch_tokens", self.batch_tokens, "a positive whole number")


@dataclass(frozen=True)
class TrainPolicyConfig:
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        check_optimizer(self.model, self.optim, "train_policy")


# --------------------------------------------------------------------------------------- inputs


@dataclass(frozen=True)
class InputsConfig:
    """Paths that decide which edges the pipeline has; composed, never chosen. One that a profile or an arm does not
    need is a path that another dependency of the stage already names (DVC needs a path).

    `taskset`: the module of `data.source`, which is loaded by that name. `published`: readers that such modules share.
    """

    train: str = "src/wmtp/stages/sample.py"
    validation: str = "src/wmtp/stages/sample.py"
    reference_training: str = "artifacts/data"
    critic_training: str = "artifacts/data"
    taskset: str = "src/wmtp/tasksets/synthetic.py"
    published: str = "src/wmtp/tasksets/synthetic.py"


# --------------------------------------------------------------------------------------- evaluation and report


@dataclass(frozen=True)
class SandboxConfig:
    """`allow_unsafe` runs programs without isolation where none can be had; it is recorded in the results.

    `packages`: installed packages that programs and tests can import beside the standard library. Null: those that the
    benchmark's own environment has (numpy for HumanEval, CodeContests and own data), where they are installed.
    """

    allow_unsafe: bool = False
    packages: Optional[list[str]] = None
    time_limit_s: float = 4.0
    memory_limit_bytes: int = 536870912

    def __post_init__(self) -> None:
        require(self.time_limit_s > 0, "evaluate.sandbox.time_limit_s", self.time_limit_s, "a positive number")
        require(
            self.memory_limit_bytes >= 2**26, "evaluate.sandbox.memory_limit_bytes", self.memory_limit_bytes, "at least 64 MiB"
        )


@dataclass(frozen=True)
class EvaluateConfig:
    """`num_samples` completions per task at `temperature`, plus one greedy one; pass@k for every k in `k`.

    `benchmark`: the task set by whose conventions completions are asked for and judged. Null is `data.source`, which
    composition fills in; nothing else fits, because the test problems are the source's.

    `num_drafts`: tokens that the further heads propose per forward pass (self-speculative decoding). The completions stay
    the same; it pays where a forward pass costs the same for a few tokens as for one: small batches, large models.
    """

    benchmark: str = "synthetic"
    num_samples: int = 10
    k: list[int] = field(default_factory=lambda: [1, 10])
    temperature: float = 0.8
    top_p: float = 0.95
    max_new_tokens: int = 128
    batch_size: int = 128
    num_drafts: int = 0
    seed: int = 0
    limit: Optional[int] = None
    num_bootstrap: int = 2000
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)

    def __post_init__(self) -> None:
        one_of("evaluate.benchmark", self.benchmark, tasksets.names())
        for key in ("num_samples", "max_new_tokens", "batch_size", "num_bootstrap"):
            require(getattr(self, key) > 0, f"evaluate.{key}", getattr(self, key), "a positive whole number")
        require(self.seed >= 0, "evaluate.seed", self.seed, "0 or more")
        require(self.num_drafts >= 0, "evaluate.num_drafts", self.num_drafts, "0 or a positive whole number")
        require(
            self.temperature > 0,
            "evaluate.temperature",
            self.temperature,
            "a positive number (the greedy score is always reported too)",
        )
        require(0 < self.top_p <= 1, "evaluate.top_p", self.top_p, "a number in (0, 1]")
        require(
            self.limit is None or self.limit > 0, "evaluate.limit", self.limit, "a positive whole number, or null for all tasks"
        )
        require(
            all(1 <= k <= self.num_samples for k in self.k),
            "evaluate.k",
            self.k,
            f"every k in [1, num_samples={self.num_samples}]",
        )


@dataclass(frozen=True)
class ReportConfig:
    title: str = "wmtp"
    baseline_arm: str = "baseline"
    num_examples: int = 3
    num_bootstrap: int = 2000


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
    arms: dict[str, ArmConfig]
    runs: dict[str, RunConfig]
    columns: dict[str, dict[str, ColumnConfig]]


@dataclass(frozen=True)
class LaunchConfig:
    """Where and how processes run. Reaches no hash; results do not depend on it. See configs/launch/.

    `slots`: stages with accelerators at once (Slurm: jobs); `srun`: options of srun's; `sandbox_workers`: for each node;
    `collective_timeout_s`: how long a rank waits for the others before the stage fails, in seconds.
    """

    nproc_per_node: int = 2
    nnodes: int = 1
    threads_per_process: int = 1
    device: str = "auto"
    slots: int = 1
    launcher: str = "local"
    tracking_uri: Optional[str] = None
    sandbox_workers: int = 2
    collective_timeout_s: int = 600
    srun: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = ("nproc_per_node", "nnodes", "threads_per_process", "slots", "sandbox_workers", "collective_timeout_s")
        for key in numbers:
            require(getattr(self, key) > 0, f"launch.{key}", getattr(self, key), "a positive whole number")
        one_of("launch.device", self.device, ("auto", "cpu", "cuda"))
        one_of("launch.launcher", self.launcher, ("local", "slurm"))
        is_slurm = self.launcher == "slurm"
        require(is_slurm or self.nnodes == 1, "launch.nnodes", self.nnodes, "1, or launch.launcher=slurm")
        require(is_slurm or not self.srun, "launch.srun", self.srun, "empty, or launch.launcher=slurm")
