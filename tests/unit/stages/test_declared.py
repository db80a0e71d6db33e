"""A stage sees of the configuration what dvc.yaml declares for it, and fails at the first look at anything else."""

import pytest

from tests.workspaces import PROJECT
from wmtp.config import compose
from wmtp.config.arms import plain
from wmtp.stages.declared import declared_only, declared_values


@pytest.fixture(scope="module")
def config():
    return compose(PROJECT, "toy")


def test_what_is_declared_is_as_it_was(config):
    seen = declared_only(config, ["train_policy", "runs.rho1-s0.arm", "arms.rho1", "evaluate.sandbox"], "stage")
    assert seen.train_policy is config.train_policy and seen.arms["rho1"] is config.arms["rho1"]
    assert seen.evaluate.sandbox is config.evaluate.sandbox
    assert seen.runs["rho1-s0"].arm == "rho1" and list(seen.runs) == ["rho1-s0"] and list(seen.arms) == ["rho1"]


@pytest.mark.parametrize(
    ("look", "key"),
    [
        (lambda seen: seen.score.batch_tokens, "score"),
        (lambda seen: seen.runs["rho1-s0"].seed + 1, "runs.rho1-s0.seed"),
        (lambda seen: [*seen.runs["rho1-s0"].deps], "runs.rho1-s0.deps"),
        (lambda seen: f"{seen.evaluate.temperature}", "evaluate.temperature"),
        (lambda seen: bool(seen.profile), "profile"),
        (lambda seen: seen.evaluate.temperature < 1, "evaluate.temperature"),
    ],
)
def test_anything_else_is_named_with_the_stage_that_looked(config, look, key):
    seen = declared_only(config, ["runs.rho1-s0.arm", "evaluate.sandbox"], "some_stage")
    with pytest.raises(AssertionError, match=f"some_stage reads config.{key}, which is not among its params in dvc.yaml"):
        look(seen)


def test_a_property_of_a_section_that_is_declared_in_part_is_refused(config):
    seen = declared_only(config, ["data.source"], "some_stage")
    assert seen.data.source == "synthetic" and config.data.is_generated
    with pytest.raises(AssertionError, match=r"some_stage reads config\.data\.is_generated, and not all of data is among"):
        _ = seen.data.is_generated


def test_declared_values_are_the_leaves_below_the_declared_keys(config):
    values = declared_values(plain(config), ["train_policy.optim", "runs.rho1-s0.arm"])
    assert values["runs.rho1-s0.arm"] == "rho1" and values["train_policy.optim.lr"] == config.train_policy.optim.lr
    assert all(key.startswith(("train_policy.optim.", "runs.rho1-s0.arm")) for key in values)
