"""What the three training stages are configured with: a model, its optimizers, the loop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Optional

from wmtp.checks import one_of, require, require_seed


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) on the decoder blocks' matrices; `rank` 0 trains all weights.

    `targets`: the last part of matrices' names, as the family has them. `full_heads`: further heads are trained whole, and
    adapters are on the trunk and head 0 alone.
    """

    rank: int = 0
    alpha: int = 16
    dropout: float = 0.0
    targets: list[str] = field(default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj"])
    full_heads: bool = True

    def __post_init__(self) -> None:
        require(self.rank >= 0, "model.lora.rank", self.rank, "0 (no adapters) or more")
        require(self.alpha > 0, "model.lora.alpha", self.alpha, "a positive whole number")
        require(0 <= self.dropout < 1, "model.lora.dropout", self.dropout, "a number in [0, 1)")
        named = bool(self.targets) and all(target.isidentifier() for target in self.targets)
        require(named, "model.lora.targets", self.targets, "names of the blocks' matrices, such as q_proj or down_proj")


@dataclass(frozen=True)
class ModelConfig:
    """`n_layers` counts trunk layers plus all heads (the paper's convention). `pretrained` overrides the shape.

    `head_variant`: `parallel`, `sequential`, or `stride` with a `head_stride` of 2 or more. `head_init`: how heads start that a
    pretrained model does not have: see `wmtp.models.start`. Null is what fits the variant.
    """

    pretrained: Optional[str] = None
    hidden_size: int = 96
    intermediate_size: int = 256
    n_layers: int = 7
    n_heads: int = 4
    n_kv_heads: int = 4
    n_future: int = 4
    rope_theta: float = 10000.0
    tie_embeddings: bool = True
    head_variant: str = "parallel"
    head_stride: int = 1
    head_init: Optional[str] = None
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
        self._check_heads()
        require(
            adapts, "model.lora.rank", self.lora.rank, "0 unless model.pretrained is given: adapters change trained weights"
        )

    def _check_heads(self) -> None:
        one_of("model.head_variant", self.head_variant, ("parallel", "sequential", "stride"))
        strides = self.head_stride >= 2 if self.head_variant == "stride" else self.head_stride == 1
        require(strides, "model.head_stride", self.head_stride, "2 or more with model.head_variant=stride, otherwise 1")
        several = self.n_future > 1 or self.head_variant == "parallel"
        require(several, "model.head_variant", self.head_variant, "parallel: there is no head but the model's own")
        if self.head_init is not None:
            one_of("model.head_init", self.head_init, ("copy", "identity", "zero_residual", "random", "shipped"))
            require(self.n_future > 1, "model.head_init", self.head_init, "null: there is no head but the model's own")
            has_source = self.pretrained is not None or self.head_init == "random"
            require(has_source, "model.head_init", self.head_init, "random, or null, unless model.pretrained is given")
            chained = self.head_variant == "sequential" or self.head_init != "shipped"
            require(
                chained,
                "model.head_init",
                self.head_init,
                "another, or model.head_variant=sequential: such modules are a chain",
            )
            apart = self.head_variant != "sequential" or self.head_init != "zero_residual"
            require(apart, "model.head_init", self.head_init, "identity: sequential heads read the head before them, no trunk")


@dataclass(frozen=True)
class NextTokenModelConfig(ModelConfig):
    """The model of a reference or a critic, which have a say on one token at a time. `pretrained` overrides the shape."""

    n_future: int = 1

    def __post_init__(self) -> None:
        require(self.n_future == 1, "model.n_future", self.n_future, "1: reference and critic are next-token models")
        super().__post_init__()


@dataclass(frozen=True)
class HeadNumbers:
    """One number a head, head 0's first: from `start` in a line to `final` over `ramp_steps`; all 1 where `final` is empty.

    Without `start` they are `final` from the first step on. An arm with fewer heads takes the first ones.
    """

    final: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    ramp_steps: int = 0

    def check(self, key: str, n_future: int) -> None:
        """Raises ConfigError for numbers that are not one for each of so many heads, or that nothing could come of."""
        for name, values in (("final", self.final), ("start", self.start)):
            fits = len(values) in (0, n_future) and all(0 <= value < math.inf for value in values)
            require(fits, f"{key}.{name}", values, f"{n_future} numbers, 0 or more, one for each head; or none")
            require(not values or max(values) > 0, f"{key}.{name}", values, "not all 0: nothing would be learnt")
        ramps = (self.ramp_steps > 0) == bool(self.start) and (bool(self.final) or not self.start) and self.ramp_steps >= 0
        require(ramps, f"{key}.ramp_steps", self.ramp_steps, "a positive whole number with start and final, otherwise 0")


def at_step(numbers: HeadNumbers, step: int) -> list[float] | None:
    """The numbers at a 0-based step; None for all 1."""
    if not numbers.final or not numbers.start or step >= numbers.ramp_steps:
        return numbers.final or None
    done = step / numbers.ramp_steps
    return [a + (b - a) * done for a, b in zip(numbers.start, numbers.final, strict=True)]


@dataclass(frozen=True)
class HeadsConfig:
    """How further heads are trained beside what was there before them.

    `warmup_steps`: so many first steps move further heads alone; the trunk, head 0, embeddings and unembedding stay as they
    are, and begin afterwards. `loss_weights`: of each head's part of the loss. `lr_factors`: of each head's own layers.
    """

    warmup_steps: int = 0
    loss_weights: HeadNumbers = field(default_factory=HeadNumbers)
    lr_factors: HeadNumbers = field(default_factory=HeadNumbers)

    def of(self, n_future: int) -> HeadsConfig:
        """For an arm with so many heads: the first ones' numbers, and no warm-up where there is no further head."""
        some = {
            key: replace(value, final=value.final[:n_future], start=value.start[:n_future]) for key, value in self._numbers()
        }
        return replace(self, warmup_steps=self.warmup_steps if n_future > 1 else 0, **some)

    def _numbers(self) -> list[tuple[str, HeadNumbers]]:
        return [("loss_weights", self.loss_weights), ("lr_factors", self.lr_factors)]

    def check(self, model: ModelConfig, steps: int) -> None:
        """Raises ConfigError for what does not fit the model or the number of steps."""
        for key, value in self._numbers():
            value.check(f"train_policy.heads.{key}", model.n_future)
        fits = 0 <= self.warmup_steps < steps
        require(fits, "train_policy.heads.warmup_steps", self.warmup_steps, f"0 or more, and less than train.steps={steps}")
        some = model.n_future > 1 or not self.warmup_steps
        require(some, "train_policy.heads.warmup_steps", self.warmup_steps, "0: there is no head but the model's own")


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


ATTENTION, ATTENTION_ON_GPUS = ("eager", "sdpa"), ("flex_attention", "flash_attention_2", "flash_attention_3")
"""transformers' implementations, and those that learn on GPUs alone: FlexAttention has no backward pass on a CPU."""


@dataclass(frozen=True)
class TrainConfig:
    """The loop. A step is an optimizer step over `global_batch_size` examples; intervals are in steps.

    Micro-batches hold `micro_batch_size` examples over all ranks or, with `micro_batch_tokens`, as many as fit in so many
    padded tokens on each rank. `dtype` is computed in. `masters`: what optimizers change: `float32` weights, or bfloat16 ones
    that are rounded at random (`stochastic`) or compensated (`kahan`). `save_dtype`: of the model that is written, null for
    the masters' own. `attention`: which of transformers' implementations computes it, null for the family's own choice (sdpa in
    most); all but `eager` and `sdpa` need GPUs, and flash attention bfloat16. `compile_backend`: torch.compile's, block by
    block (inductor needs a C++ compiler on CPUs). `early_stopping_patience`: validations without improvement before training
    ends. With it the best validated model is the result, whether training ended early or not; without it the last one is.
    """

    steps: int = 300
    global_batch_size: int = 32
    micro_batch_size: int = 32
    micro_batch_tokens: Optional[int] = None
    dtype: str = "float32"
    masters: str = "float32"
    save_dtype: Optional[str] = None
    activation_checkpointing: bool = False
    attention: Optional[str] = None
    compile_backend: Optional[str] = None
    eval_interval: int = 50
    early_stopping_patience: Optional[int] = None

    def __post_init__(self) -> None:
        for key in ("steps", "global_batch_size", "micro_batch_size", "eval_interval"):
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
        one_of("train.masters", self.masters, ("float32", "stochastic", "kahan"))
        if self.save_dtype is not None:
            one_of("train.save_dtype", self.save_dtype, ("float32", "bfloat16"))
        if self.attention is not None:
            one_of("train.attention", self.attention, (*ATTENTION, *ATTENTION_ON_GPUS))
            is_narrow = self.dtype == "bfloat16" or not self.attention.startswith("flash_attention")
            rule = f"another with train.dtype={self.dtype}: flash attention computes in 16 bits alone"
            require(is_narrow, "train.attention", self.attention, rule)
        if self.compile_backend is not None:
            one_of("train.compile_backend", self.compile_backend, ("inductor", "aot_eager", "cudagraphs"))


@dataclass(frozen=True)
class SeededTrainConfig(TrainConfig):
    """A training that exists once and has its own seed; a policy's seed is its run's."""

    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_seed("train.seed", self.seed)


def check_optimizer(model: ModelConfig, optim: OptimConfig, train: TrainConfig, section: str) -> None:
    """Muon orthogonalises updates of whole matrices; an adapter's thin factors are AdamW's, and float32."""
    wide, key = train.masters == "float32", f"{section}.train.masters"
    require(wide or optim.name == "adamw", key, train.masters, f"float32 with {section}.optim.name={optim.name}")
    require(wide or model.lora.rank == 0, key, train.masters, "float32 with model.lora.rank > 0")
    require(
        model.lora.rank == 0 or optim.name == "adamw", f"{section}.optim.name", optim.name, "adamw with model.lora.rank > 0"
    )
