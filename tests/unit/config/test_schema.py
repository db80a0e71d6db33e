"""Settings of training and of launching that contradict each other are refused when a section is built."""

import pytest

from wmtp.config.schema import CriticConfig, LaunchConfig
from wmtp.errors import ConfigError


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        (LaunchConfig, {"nnodes": 2}, "launch.nnodes=2 is not allowed: 1, or launch.launcher=slurm"),
        (LaunchConfig, {"srun": ["--mem=1G"]}, "empty, or launch.launcher=slurm"),
        (LaunchConfig, {"slots": 0}, "launch.slots=0 is not allowed: a positive whole number"),
        (CriticConfig, {"init": "policy"}, "use one of reference, scratch"),
        (CriticConfig, {"gamma": 0.0}, r"a number in \(0, 1\]"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(section, changes, message):
    with pytest.raises(ConfigError, match=message):
        section(**changes)
