"""Sections that contradict each other are refused when the configuration is composed, in one line with key, value and range."""

import re

import pytest

from tests.workspaces import PROJECT
from wmtp.config import compose
from wmtp.config.consistency import require_trainable
from wmtp.errors import ConfigError

CASES = [
    ("report.k=[10]", "report.k=[10] is not allowed: 1 and any larger ones, each once"),
    ("report.baseline_arm=stride", "report.baseline_arm='stride' is not allowed: one of the arms that run: ntp, baseline"),
    ("train_policy=null", "train_policy=None is not allowed: a mapping"),
    ("evaluate=[]", "evaluate=[] is not allowed: a mapping"),
    ("arms.rho1=4", "arms.rho1=4 is not allowed: a mapping"),
    ("arms.rho1=null", "arms.rho1=None is not allowed: a mapping"),
    ("train_critic.model.lora.alpha=3", "train_critic.model.lora.alpha=3 is not allowed: 16, or init=scratch"),
    ("report.k=[]", "report.k=[] is not allowed: 1 and any larger ones"),
    ("report.k=[1,1]", "report.k=[1, 1] is not allowed"),
    ("train_policy.model.n_future=7", "train_policy.model.n_layers=7 is not allowed: at least 8 with n_future=7"),
    ("arms.baseline.n_future=7", "arms.baseline.n_future=7 is not allowed: 1, or less than train_policy.model.n_layers=7"),
    ("arms.baseline.n_future=192", "arms.baseline.n_future=192 is not allowed: less than data.max_length=192"),
    ("train_policy.model.hidden_size=100", "train_policy.model.hidden_size=100 is not allowed: a multiple of 2 * n_heads=8"),
    ("train_policy.model.hidden_size=12", "train_policy.model.hidden_size=12 is not allowed: a multiple of 2 * n_heads=8"),
    ("tune_reference.model.n_heads=0", "tune_reference.model.n_heads=0 is not allowed: a positive whole number"),
    ("train_critic.model.intermediate_size=-1", "train_critic.model.intermediate_size=-1 is not allowed"),
    ("train_policy.model.rope_theta=0", "train_policy.model.rope_theta=0.0 is not allowed: a positive number"),
    ("data.seed=-1", "data.seed=-1 is not allowed: 0 to 4294967295"),
    ("train_critic.train.seed=-1", "train_critic.train.seed=-1 is not allowed: 0 to 4294967295"),
    ("seeds=[-1]", "seeds=-1 is not allowed: 0 to 4294967295"),
    (
        "train_policy.optim.warmup_steps=301",
        "train_policy.optim.warmup_steps=301 is not allowed: at most train_policy",
    ),
    (
        "train_critic.lambda_final=0.9",
        "train_critic.lambda_hold_steps=300 is not allowed: less than train_critic",
    ),
    ("train_critic.gamma=0.9", "arms.verifiable.weighting.gamma=1.0 is not allowed: train_critic.gamma=0.9"),
    ("report.baseline_arm=nobody", "report.baseline_arm='nobody' is not allowed: use one of"),
    ("runtime.log_interval=0", "runtime.log_interval=0 is not allowed: a positive whole number"),
    ("runtime.checkpoint_interval=0", "runtime.checkpoint_interval=0"),
    ("runtime.keep_checkpoints=0", "runtime.keep_checkpoints=0"),
    ("runtime.generation_batch_size=-1", "runtime.generation_batch_size=-1"),
    ("runtime.trace_step=0", "runtime.trace_step=0 is not allowed: a positive whole number, or null for no trace"),
    ("runtime.num_drafts=-1", "runtime.num_drafts=-1 is not allowed: 0 or a positive whole number"),
    ("report.num_bootstrap=0", "report.num_bootstrap=0 is not allowed: a positive whole number"),
    ("train_policy.train.global_batch_size=16384", "train_policy.train.global_batch_size=16384 is not allowed: at most 12000"),
    ("data.train_path=some.jsonl", "data.train_path='some.jsonl' is not allowed: null: data.source=synthetic makes"),
    ("train_policy.optim.lr=.inf", "train_policy.optim.lr=inf is not allowed: a finite number"),
    ("train_policy.optim.lr=.nan", "train_policy.optim.lr=nan is not allowed"),
    ("arms.rho1.weighting.keep_frac=.nan", "keep_frac"),
    ("arms.baseline.head_variant=diagonal", "arms.baseline.head_variant='diagonal' is not allowed: use one of parallel"),
    ("arms.baseline.head_variant=stride", "arms.baseline.head_stride=1 is not allowed: 2 or more"),
    ("arms.baseline.head_stride=2", "arms.baseline.head_stride=2 is not allowed: null unless head_variant is given"),
    ("arms.ntp.head_variant=sequential", "arms.ntp.head_variant='sequential' is not allowed: null with n_future=1"),
    ("report.title=${nothing}", "report.title: Interpolation key 'nothing' not found"),
    ("arms.rho1.solutions=${nothing}", "arms.rho1.solutions: Interpolation key 'nothing' not found"),
    ("train_policy=3", "train_policy=3 is not allowed: a mapping"),
    ("data=0", "data=0 is not allowed: a mapping"),
    ("train_policy.model=3", "train_policy.model=3 is not allowed: a mapping with keys of pretrained, hidden_size"),
    ("data.noise=null", "data.noise=None is not allowed: a mapping"),
    ("arms.rho1=3", "arms.rho1"),
    ("arms=3", "arms=3 is not a list of str"),
]


@pytest.mark.parametrize(("override", "said"), CASES)
def test_a_contradiction_is_one_line_with_key_value_and_range(override, said):
    overrides = [override, "train_policy.train.micro_batch_size=1"] if "global_batch" in override else [override]
    with pytest.raises(ConfigError) as caught:
        compose(PROJECT, "demo", overrides=overrides)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_what_only_looks_like_a_contradiction_is_taken():
    overrides = [
        "tune_reference.model.n_layers=1",
        "train_policy.optim.warmup_steps=300",
        "train_critic.lambda_final=0.9",
        "train_critic.lambda_hold_steps=299",
    ]
    assert compose(PROJECT, "demo", overrides=overrides).train_critic.lambda_final == 0.9
    values = ["train_critic.gamma=0.9", "arms.verifiable.weighting.gamma=0.9"]
    assert compose(PROJECT, "demo", overrides=values).train_critic.gamma == 0.9
    assert compose(PROJECT, "demo", arms=["rho1"], overrides=values[:1]).train_critic.gamma == 0.9, "no arm reads values"


def test_an_arm_may_have_another_kind_of_heads_than_the_section():
    arms = ["ntp", "baseline", "sequential", "stride"]
    config = compose(PROJECT, "demo", arms=arms)
    section = config.train_policy.model
    shapes = {name: config.arms[name].model(section) for name in arms}
    assert shapes["ntp"] is section and shapes["baseline"] is section
    assert [(shape.head_variant, shape.head_stride) for shape in shapes.values()][2:] == [("sequential", 1), ("stride", 2)]
    far = ["arms.stride.head_stride=70"]
    with pytest.raises(ConfigError, match=r"arms.stride.head_stride=70 is not allowed: less than data.max_length=192"):
        compose(PROJECT, "demo", arms=arms, overrides=far)
    with pytest.raises(ConfigError, match=r"arms.sstoken.head_variant='sequential' is not allowed: weighting sstoken"):
        compose(PROJECT, "demo", arms=["sstoken"], overrides=["arms.sstoken.head_variant=sequential"])


@pytest.mark.parametrize(
    ("overrides", "num_ranks", "said"),
    [
        ([], 3, "tune_reference.train.micro_batch_size=8 is not allowed: a multiple of 3, the ranks that share it"),
        (
            ["tune_reference.train.micro_batch_size=4"],
            8,
            "tune_reference.train.micro_batch_size=4 is not allowed: a multiple of 8",
        ),
        (["train_policy.train.micro_batch_tokens=900"], 8, None),
        (["train_critic.train.micro_batch_tokens=900"], 16, "tune_reference.train.micro_batch_size=8 is not allowed"),
        ([], 2, None),
    ],
)
def test_ranks_share_every_batch_evenly(overrides, num_ranks, said):
    config = compose(PROJECT, "toy", arms=["verifiable"], overrides=overrides)
    if said is None:
        require_trainable(config, "cpu", num_ranks)
    else:
        with pytest.raises(ConfigError, match=rf"^{re.escape(said)}"):
            require_trainable(config, "cpu", num_ranks)


def test_a_section_that_nothing_trains_is_not_asked():
    config = compose(PROJECT, "toy", arms=["baseline"], overrides=["train_policy.train.micro_batch_tokens=900"])
    assert config.train_policy.train.global_batch_size % 8 == 0 and config.train_critic.train.micro_batch_size % 3
    require_trainable(config, "cpu", config.train_policy.train.global_batch_size)


def test_the_production_profile_is_for_3_4_6_and_8():
    given = [f"data.{name}_path=x" for name in ("train", "validation")]
    config = compose(PROJECT, "production", overrides=given)
    for num_ranks in (3, 4, 6, 8):
        require_trainable(config, "cpu", num_ranks)
    with pytest.raises(ConfigError, match="is not allowed: a multiple of 5"):
        require_trainable(config, "cpu", 5)


def test_attention_that_learns_on_gpus_alone_is_refused_without_them():
    config = compose(PROJECT, "toy", arms=["baseline"], overrides=["train_policy.train.attention=flex_attention"])
    for device in ("cuda", "auto"):
        require_trainable(config, device, 2)
    said = "train_policy.train.attention='flex_attention' is not allowed: null, eager or sdpa without GPUs (WMTP_LAUNCH)"
    with pytest.raises(ConfigError, match=rf"^{re.escape(said)}$"):
        require_trainable(config, "cpu", 2)
    of_nobody = compose(PROJECT, "toy", arms=["baseline"], overrides=["train_critic.train.attention=flex_attention"])
    require_trainable(of_nobody, "cpu", 2)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("evaluate.max_new_tokens=192", r"=192 is not allowed: less than data\.max_length=192, the positions"),
        ("evaluate.limit=7", r"=7 is not allowed: at most data\.num_test_problems=6, or null"),
        ("runtime.num_drafts=2", r"=2 is not allowed: at most 1, what the further heads of the arms can propose"),
    ],
)
def test_an_evaluation_of_more_than_there_is_is_refused(override, said):
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^{key}{said}"):
        compose(PROJECT, "toy", overrides=[override])
    less = override.replace("192", "191").replace("=7", "=6").replace("=2", "=1")
    compose(PROJECT, "toy", overrides=[less])


def test_heads_with_a_stride_propose_as_many_as_they_look_ahead():
    strided = ["train_policy.model.head_variant=stride", "train_policy.model.head_stride=3"]
    compose(PROJECT, "toy", overrides=[*strided, "runtime.num_drafts=3"])
    with pytest.raises(ConfigError, match=r"^runtime\.num_drafts=4 is not allowed: at most 3"):
        compose(PROJECT, "toy", overrides=[*strided, "runtime.num_drafts=4"])


def test_flash_attention_needs_bfloat16():
    flash = "train_policy.train.attention=flash_attention_2"
    compose(PROJECT, "toy", overrides=[flash, "train_policy.train.dtype=bfloat16"])
    said = "train_policy.train.attention='flash_attention_2' is not allowed: another with train.dtype=float32: flash attention"
    with pytest.raises(ConfigError, match=rf"^{re.escape(said)}"):
        compose(PROJECT, "toy", overrides=[flash])
