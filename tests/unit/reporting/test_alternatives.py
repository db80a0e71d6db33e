"""The figures in words: every value that is drawn is said."""

import pytest

from tests.unit.reporting.artifacts import make_config, write_artifacts
from wmtp.reporting.alternatives import alternatives
from wmtp.reporting.collect import collect
from wmtp.reporting.figures import FIGURES
from wmtp.reporting.inputs import load_inputs

ARMS = ["baseline", "ntp", "rho1"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root, config = tmp_path_factory.mktemp("alternatives"), make_config(ARMS, [0, 1])
    write_artifacts(root, config, num_tasks=20)
    return collect(load_inputs(config, root), config)


def test_every_figure_has_its_text(report):
    texts = alternatives(report)
    assert texts.keys() == FIGURES.keys()
    assert all(text.isascii() and "None" not in text and text.endswith(".") for text in texts.values())


def test_the_values_are_the_reports(report):
    texts = alternatives(report)
    for arm, entry in report["arms"].items():
        one = entry["pass_at_k"]["1"]
        assert f"{arm} {one['mean']:.3f} ({one['low']:.3f} to {one['high']:.3f})" in texts["pass_at_1"]
        assert all(f"{value:.3f} {head}" in texts["nll_per_head"] for head, value in entry["nll"].items())
        if arm != "baseline":
            found = entry["difference"]
            decides = f"the widest {found['joint_seed_low']:+.3f} to {found['joint_seed_high']:+.3f}"
            assert f"{arm} {found['mean']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f}), {decides}" in texts["difference"]


def test_what_there_is_nothing_of_says_no_more_than_its_title(report):
    bare = report | {"critic": None, "arms": {arm: entry | {"weights": None} for arm, entry in report["arms"].items()}}
    assert "of those given" not in alternatives(bare)["calibration"] and "on noise" not in alternatives(bare)["weights"]
