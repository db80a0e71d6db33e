"""Settings of evaluation that cannot be followed are refused when the section is built."""

import pytest

from wmtp.config.evaluation import EvaluateConfig, ReportConfig, SandboxConfig
from wmtp.errors import ConfigError


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        (ReportConfig, {"k": [0, 1]}, "1 and any larger ones, each once"),
        (EvaluateConfig, {"temperature": 0.0}, "the greedy score is always reported too"),
        (EvaluateConfig, {"limit": 0}, "evaluate.limit=0 is not allowed"),
        (SandboxConfig, {"memory_limit_bytes": 1}, "at least 64 MiB"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(section, changes, message):
    with pytest.raises(ConfigError, match=message):
        section(**changes)
