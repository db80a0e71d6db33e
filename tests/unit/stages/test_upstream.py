"""A reference and a critic are seeded by the runs that use them."""

from types import SimpleNamespace

import pytest

from tests.workspaces import PROJECT
from wmtp.config import compose
from wmtp.stages.upstream import seeded


@pytest.mark.parametrize(("group", "name"), [("reference", "tune_reference"), ("value", "train_critic")])
def test_the_seed_of_the_runs_is_added_to_the_sections_own(group, name):
    config = compose(PROJECT, "demo", arms=["verifiable"], seeds=[0, 2], overrides=[f"{name}.train.seed=40"])
    section = getattr(config, name)
    found = {key: seeded(section, config, group, SimpleNamespace(run=key)) for key in config.columns[group]}
    assert {key: one.train.seed for key, one in found.items()} == {"s0": 40, "s2": 42}
    assert found["s0"] == section, "and nothing else is changed"
