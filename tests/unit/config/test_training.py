"""Models, optimizers and loops that cannot be are refused with the key."""

import pytest

from wmtp.config.schema import TrainPolicyConfig
from wmtp.config.training import (
    HeadNumbers,
    HeadsConfig,
    LoraConfig,
    ModelConfig,
    OptimConfig,
    SeededTrainConfig,
    TrainConfig,
    at_step,
    check_optimizer,
)
from wmtp.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        (LoraConfig, {"rank": -1}, "model.lora.rank=-1 is not allowed: 0 (no adapters) or more"),
        (LoraConfig, {"alpha": 0}, "model.lora.alpha=0"),
        (LoraConfig, {"dropout": 1.0}, "model.lora.dropout=1.0 is not allowed: a number in [0, 1)"),
        (LoraConfig, {"targets": []}, "model.lora.targets=[] is not allowed: names of the blocks' matrices"),
        (LoraConfig, {"targets": ["q proj"]}, "model.lora.targets=['q proj'] is not allowed: names of the blocks' matrices"),
        (ModelConfig, {"head_variant": "medusa"}, "model.head_variant='medusa' is not allowed: use one of parallel, sequ"),
        (ModelConfig, {"head_variant": "stride"}, "model.head_stride=1 is not allowed: 2 or more with model.head_variant=st"),
        (ModelConfig, {"head_stride": 2}, "model.head_stride=2 is not allowed: 2 or more with model.head_variant=stride, oth"),
        (
            ModelConfig,
            {"head_variant": "sequential", "n_future": 1},
            "model.head_variant='sequential' is not allowed: parallel",
        ),
        (ModelConfig, {"head_init": "zero", "pretrained": "x"}, "model.head_init='zero' is not allowed: use one of copy"),
        (ModelConfig, {"head_init": "copy"}, "model.head_init='copy' is not allowed: random, or null, unless model.pretrained"),
        (
            ModelConfig,
            {"head_init": "copy", "pretrained": "x", "n_future": 1},
            "model.head_init='copy' is not allowed: null: there",
        ),
        (
            ModelConfig,
            {"head_init": "zero_residual", "pretrained": "x", "head_variant": "sequential"},
            "model.head_init='zero_residual' is not allowed: identity: sequential heads read the head before them",
        ),
        (ModelConfig, {"n_future": 0}, "model.n_future=0 is not allowed: at least 1"),
        (ModelConfig, {"n_layers": 3}, "model.n_layers=3 is not allowed: at least 5 with n_future=4: it counts the heads"),
        (ModelConfig, {"hidden_size": 98}, "model.hidden_size=98 is not allowed: a multiple of 2 * n_heads=8"),
        (ModelConfig, {"n_kv_heads": 3}, "model.n_kv_heads=3 is not allowed: a divisor of n_heads=4"),
        (ModelConfig, {"lora": LoraConfig(rank=2)}, "model.lora.rank=2 is not allowed: 0 unless model.pretrained is given"),
        (OptimConfig, {"name": "sgd"}, "optim.name='sgd' is not allowed: use one of adamw, muon"),
        (OptimConfig, {"schedule": "step"}, "optim.schedule='step' is not allowed: use one of cosine, linear, constant"),
        (OptimConfig, {"lr": 0.0}, "optim.lr=0.0 is not allowed: a positive number"),
        (OptimConfig, {"muon_lr": -1.0}, "optim.muon_lr=-1.0"),
        (OptimConfig, {"clip_norm": 0.0}, "optim.clip_norm=0.0"),
        (OptimConfig, {"beta1": 1.0}, "optim.beta1=1.0 is not allowed: a number in [0, 1)"),
        (OptimConfig, {"beta2": -0.1}, "optim.beta2=-0.1"),
        (OptimConfig, {"min_lr_frac": 1.1}, "optim.min_lr_frac=1.1 is not allowed: a number in [0, 1]"),
        (OptimConfig, {"weight_decay": -1.0}, "optim.weight_decay=-1.0"),
        (OptimConfig, {"warmup_steps": -1}, "optim.warmup_steps=-1"),
        (TrainConfig, {"steps": 0}, "train.steps=0 is not allowed: a positive whole number"),
        (TrainConfig, {"eval_interval": -1}, "train.eval_interval=-1"),
        (TrainConfig, {"micro_batch_tokens": 0}, "train.micro_batch_tokens=0 is not allowed: a positive whole number, or null"),
        (TrainConfig, {"early_stopping_patience": 0}, "train.early_stopping_patience=0"),
        (TrainConfig, {"micro_batch_size": 12}, "train.micro_batch_size=12 is not allowed: a divisor of global_batch_size=32"),
        (TrainConfig, {"dtype": "float16"}, "train.dtype='float16' is not allowed: use one of float32, bfloat16"),
        (TrainConfig, {"compile_backend": "x"}, "train.compile_backend='x' is not allowed: use one of inductor"),
        (SeededTrainConfig, {"seed": -1}, "train.seed=-1 is not allowed: 0 to 4294967295"),
        (SeededTrainConfig, {"steps": 0}, "train.steps=0"),
    ],
)
def test_a_value_out_of_range_is_named(kind, changes, said):
    with pytest.raises(ConfigError) as caught:
        kind(**changes)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("kind", "edges"),
    [
        (LoraConfig, {"rank": 1, "dropout": 0.0, "targets": ["down_proj"]}),
        (ModelConfig, {"n_layers": 5, "n_kv_heads": 1}),
        (ModelConfig, {"n_layers": 1, "n_future": 1}),
        (ModelConfig, {"pretrained": "x", "lora": LoraConfig(rank=1)}),
        (OptimConfig, {"min_lr_frac": 0.0, "warmup_steps": 0, "beta1": 0.0}),
        (OptimConfig, {"min_lr_frac": 1.0}),
        (TrainConfig, {"steps": 1, "early_stopping_patience": 1, "micro_batch_size": 1, "micro_batch_tokens": 1}),
        (SeededTrainConfig, {"seed": 0}),
    ],
)
def test_the_edges_of_what_is_allowed_are_allowed(kind, edges):
    made = kind(**edges)
    assert all(getattr(made, key) == value for key, value in edges.items())


def test_adapters_are_trained_by_adamw():
    adapted = ModelConfig(pretrained="x", lora=LoraConfig(rank=2))
    check_optimizer(adapted, OptimConfig(name="adamw"), TrainConfig(), "train_policy")
    check_optimizer(ModelConfig(), OptimConfig(name="muon"), TrainConfig(), "train_policy")
    with pytest.raises(
        ConfigError, match=r"tune_reference\.optim\.name='muon' is not allowed: adamw with model\.lora\.rank > 0"
    ):
        check_optimizer(adapted, OptimConfig(name="muon"), TrainConfig(), "tune_reference")


@pytest.mark.parametrize(
    ("heads", "said"),
    [
        ({"warmup_steps": 300}, "train_policy.heads.warmup_steps=300 is not allowed: 0 or more, and less than train.steps=300"),
        ({"loss_weights": HeadNumbers([1.0])}, "train_policy.heads.loss_weights.final=[1.0] is not allowed: 4 numbers, 0 or"),
        (
            {"loss_weights": HeadNumbers([0.0] * 4)},
            "train_policy.heads.loss_weights.final=[0.0, 0.0, 0.0, 0.0] is not allowed: not",
        ),
        ({"lr_factors": HeadNumbers([1.0, 1, 1, -1])}, "train_policy.heads.lr_factors.final=[1.0, 1, 1, -1] is not allowed"),
        ({"lr_factors": HeadNumbers([1.0] * 4, ramp_steps=3)}, "train_policy.heads.lr_factors.ramp_steps=3 is not allowed"),
        ({"lr_factors": HeadNumbers([1.0] * 4, [2.0] * 4)}, "train_policy.heads.lr_factors.ramp_steps=0 is not allowed"),
    ],
)
def test_numbers_of_heads_that_cannot_be_are_refused_with_the_key(heads, said):
    with pytest.raises(ConfigError) as caught:
        TrainPolicyConfig(heads=HeadsConfig(**heads))
    assert said in str(caught.value)


def test_a_warm_up_needs_a_further_head_and_an_arm_takes_the_first_numbers():
    with pytest.raises(ConfigError, match="warmup_steps=3 is not allowed: 0: there is no head but the model's own"):
        TrainPolicyConfig(model=ModelConfig(n_future=1), heads=HeadsConfig(warmup_steps=3))
    heads = HeadsConfig(3, HeadNumbers([1.0, 0.5]), HeadNumbers([1.0, 2.0], [3.0, 4.0], 5))
    assert heads.of(2) == heads
    assert heads.of(1) == HeadsConfig(0, HeadNumbers([1.0]), HeadNumbers([1.0], [3.0], 5))
    assert at_step(HeadNumbers(), 0) is None and at_step(HeadNumbers([2.0]), 0) == [2.0]


@pytest.mark.parametrize("masters", ["stochastic", "kahan"])
def test_narrow_weights_are_adamws_and_no_adapters(masters):
    train = TrainConfig(masters=masters)
    check_optimizer(ModelConfig(), OptimConfig(name="adamw"), train, "train_policy")
    for model, name in ((ModelConfig(), "muon"), (ModelConfig(pretrained="x", lora=LoraConfig(rank=2)), "adamw")):
        with pytest.raises(ConfigError, match=r"train_policy\.train\.masters"):
            check_optimizer(model, OptimConfig(name=name), train, "train_policy")
