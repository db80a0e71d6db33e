"""What the three training stages are configured with: a model, its optimizers, the loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from wmtp.checks import one_of, require


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) on the decoder blocks' matrices; `rank` 0 trains all weights."""

    rank: int = 0
    alpha: int = 16
    dropout: float = 0.0
    targets: list[str] = field(default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj"])

    def __post_init__(self) -> None:
        require(self.rank >= 0, "model.lora.rank", self.rank, "0 (no adapters) or more")
        require(self.alpha > 0, "model.lora.alpha", self.alpha, "a positive whole number")
        require(0 <= self.dropout < 1, "model.lora.dropout", self.dropout, "a number in [0, 1)")
        known = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
        require(bool(self.targets), "model.lora.targets", self.targets, "at least one of " + ", ".join(known))
        for target in self.targets:
            one_of("model.lora.targets", target, known)


@dataclass(frozen=True)
class ModelConfig:
    """`n_layers` counts trunk layers plus all heads (the paper's convention). `pretrained` overrides the shape."""

    pretrained: Optional[str] = None
    hidden_size: int = 96
    intermediate_size: int = 256
    n_layers: int = 7
    n_heads: int = 4
    n_kv_heads: int = 4
    n_future: int = 4
    rope_theta: float = 10000.0
    tie_embeddings: bool = True
    lora: LoraConfig = field(default_factory=LoraConfig)

    def __post_init__(self) -> None:
        require(self.n_future >= 1, "model.n_future", self.n_future, "at least 1 (1 is a plain next-token model)")
        for key in ("hidden_size", "intermediate_size", "n_layers", "n_heads", "n_kv_heads"):
            require(getattr(self, key) > 0, f"model.{key}", getattr(self, key), "a positive whole number")
        require(self.rope_theta > 0, "model.rope_theta", self.rope_theta, "a positive number")
        least = self.n_future if self.n_future == 1 else self.n_future + 1
        rule = f"at least {least} with n_future={self.n_future}: it counts the heads, and they need a trunk"
        require(self.n_layers >= least or self.pretrained is not None, "model.n_layers", self.n_layers, rule)
        even = self.hidden_size % (2 * self.n_heads) == 0
        rule = f"a multiple of 2 * n_heads={2 * self.n_heads}: heads are of one, even width"
        require(even, "model.hidden_size", self.hidden_size, rule)
        require(
            self.n_heads % self.n_kv_heads == 0, "model.n_kv_heads", self.n_kv_heads, f"a divisor of n_heads={self.n_heads}"
        )
        adapts = self.pretrained is not None or self.lora.rank == 0
        require(
            adapts, "model.lora.rank", self.lora.rank, "0 unless model.pretrained is given: adapters change trained weights"
        )


@dataclass(frozen=True)
class OptimConfig:
    """AdamW on everything, or Muon on the blocks' matrices and AdamW on the rest. Learning rates are peaks.

    The last step's learning rate is `min_lr_frac` of the peak. `weight_decay` does not fall on norms, biases and embeddings.
    """

    name: str = "muon"
    lr: float = 4e-3
    muon_lr: float = 0.02
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    warmup_steps: int = 30
    schedule: str = "cosine"
    min_lr_frac: float = 0.1
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        one_of("optim.name", self.name, ("adamw", "muon"))
        one_of("optim.schedule", self.schedule, ("cosine", "linear", "constant"))
        for key in ("lr", "muon_lr", "clip_norm"):
            require(getattr(self, key) > 0, f"optim.{key}", getattr(self, key), "a positive number")
        for key in ("beta1", "beta2"):
            require(0 <= getattr(self, key) < 1, f"optim.{key}", getattr(self, key), "a number in [0, 1)")
        require(0 <= self.min_lr_frac <= 1, "optim.min_lr_frac", self.min_lr_frac, "a number in [0, 1]")
        require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "0 or more")
        require(self.warmup_steps >= 0, "optim.warmup_steps", self.warmup_steps, "0 or more")


@dataclass(frozen=True)
class TrainConfig:
    """The loop. A step is an optimizer step over `global_batch_size` examples; intervals are in steps.

    Micro-batches hold `micro_batch_size` examples over all ranks or, with `micro_batch_tokens`, as many as fit in so many
    padded tokens on each rank. `compile_backend`: torch.compile's, block by block (inductor needs a C++ compiler on CPUs).
    `early_stopping_patience`: validations without improvement before training ends. With it the best validated model is
    the result, whether training ended early or not; without it the last one is.
    """

    steps: int = 300
    global_batch_size: int = 32
    micro_batch_size: int = 32
    micro_batch_tokens: Optional[int] = None
    dtype: str = "float32"
    activation_checkpointing: bool = False
    compile_backend: Optional[str] = None
    log_interval: int = 10
    eval_interval: int = 50
    checkpoint_interval: int = 100
    keep_checkpoints: int = 2
    early_stopping_patience: Optional[int] = None

    def __post_init__(self) -> None:
        intervals = ("log_interval", "eval_interval", "checkpoint_interval")
        for key in ("steps", "global_batch_size", "micro_batch_size", *intervals, "keep_checkpoints"):
            require(getattr(self, key) > 0, f"train.{key}", getattr(self, key), "a positive whole number")
        for key in ("micro_batch_tokens", "early_stopping_patience"):
            value = getattr(self, key)
            require(value is None or value > 0, f"train.{key}", value, "a positive whole number, or null")
        require(
            self.global_batch_size % self.micro_batch_size == 0,
            "train.micro_batch_size",
            self.micro_batch_size,
            f"a divisor of global_batch_size={self.global_batch_size} (examples over all ranks)",
        )
        one_of("train.dtype", self.dtype, ("float32", "bfloat16"))
        if self.compile_backend is not None:
            one_of("train.compile_backend", self.compile_backend, ("inductor", "aot_eager", "cudagraphs"))


@dataclass(frozen=True)
class SeededTrainConfig(TrainConfig):
    """A training that exists once and has its own seed; a policy's seed is its run's."""

    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.seed >= 0, "train.seed", self.seed, "0 or more")


def check_optimizer(model: ModelConfig, optim: OptimConfig, section: str) -> None:
    """Muon orthogonalises updates of whole matrices; an adapter's thin factors are AdamW's."""
    require(
        model.lora.rank == 0 or optim.name == "adamw", f"{section}.optim.name", optim.name, "adamw with model.lora.rank > 0"
    )
