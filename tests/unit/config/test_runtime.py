"""What decides no number is a section of its own, and no stage depends on it."""

import pytest
import yaml

from tests.workspaces import PROJECT
from wmtp.config import compose
from wmtp.config.runtime import RuntimeConfig
from wmtp.errors import ConfigError


def test_it_is_in_params_yaml_and_among_no_stages_params():
    assert compose(PROJECT, "demo", overrides=["runtime.log_interval=3"]).runtime == RuntimeConfig(log_interval=3)
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"].values()
    assert not [param for stage in stages for param in stage.get("do", stage).get("params", ()) if "runtime" in param]


@pytest.mark.parametrize("key", ["log_interval", "checkpoint_interval", "keep_checkpoints", "generation_batch_size"])
def test_nothing_happens_every_zero_steps(key):
    with pytest.raises(ConfigError, match=rf"runtime\.{key}=0 is not allowed: a positive whole number"):
        RuntimeConfig(**{key: 0})
