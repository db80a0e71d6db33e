"""An override that nothing would read is refused; a profile may say what other settings would read."""

import dataclasses

import pytest

from tests.workspaces import PROJECT
from wmtp.config import compose
from wmtp.config.unread import needs
from wmtp.errors import ConfigError

GIVEN = ["data.train_path=a.jsonl", "data.validation_path=b.jsonl"]
SCRATCH = ["train_critic.init=scratch"]


@pytest.mark.parametrize(
    ("profile", "beside", "key", "needed"),
    [
        ("toy", [], "data.text_field=x", "data.source=text"),
        ("toy", [], "data.messages_field=x", "data.source=messages"),
        ("toy", [], "data.verified_frac=0.3", "data.labels=sampled"),
        ("toy", [], "data.max_bad_frac=0.1", "another data.source than synthetic"),
        ("toy", [], "data.benchmark_overlap=0.6", "another data.source than synthetic"),
        ("jsonl", GIVEN, "data.heldout_frac=0.1", "data.source=synthetic"),
        ("jsonl", GIVEN, "data.operations=all", "data.source=synthetic"),
        ("toy", ["data.noise.frac=0"], "data.noise={comments: 0.5, boilerplate: 0.2}", "data.noise.frac above 0"),
        ("toy", ["train_policy.optim.name=adamw"], "train_policy.optim.muon_lr=0.1", "optim.name=muon"),
        ("toy", ["tune_reference.optim.schedule=constant"], "tune_reference.optim.min_lr_frac=0.2", "another optim.schedule"),
        (
            "toy",
            ["train_policy.train.micro_batch_tokens=900"],
            "train_policy.train.micro_batch_size=2",
            "micro_batch_tokens=null",
        ),
        ("toy", [], "train_policy.model.lora.alpha=3", "model.lora.rank above 0"),
        ("toy", SCRATCH, "train_critic.model.lora.targets=[q_proj]", "model.lora.rank above 0"),
        ("toy", [], "train_critic.lambda_hold_steps=2", "lambda_final below 1"),
        ("toy", ["train_policy.model.pretrained=x"], "train_policy.model.hidden_size=32", "model.pretrained=null"),
    ],
)
def test_a_key_that_nothing_reads_is_named_with_what_it_needs(profile, beside, key, needed):
    name = key.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^{name}\S* is not read here: it needs .*{needed}"):
        compose(PROJECT, profile, overrides=[*beside, key])


def test_what_a_profile_says_may_be_for_other_settings():
    """The demo's Muon has a rate, and the demo with AdamW is allowed."""
    changed = compose(PROJECT, "demo", overrides=["train_policy.optim.name=adamw", "data.noise.frac=0"])
    assert changed.train_policy.optim.muon_lr == compose(PROJECT, "demo").train_policy.optim.muon_lr


def test_keys_that_are_read_are_taken():
    overrides = ["train_policy.optim.muon_lr=0.1", "train_critic.lambda_final=0.9", "train_critic.lambda_hold_steps=1"]
    config = compose(PROJECT, "toy", overrides=[*overrides, "train_critic.lambda_ramp_steps=1", "data.noise.comments=0.45"])
    assert dataclasses.astuple(config.train_policy.optim)[2] == 0.1


def test_what_is_always_read_needs_nothing():
    assert needs("train_policy.optim.lr") is None and needs("data.noise.frac") is None
    assert needs("train_critic.optim.muon_lr") == "optim.name=muon"
