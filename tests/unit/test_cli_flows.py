"""What can be typed after `wmtp run` and `wmtp sweep`, and their help. Presets: tests/integration/test_serve.py."""

import json

import pytest

from flows import command, serve, sweep_command
from tests.unit.evaluation.benchmarks import one_line
from tests.workspaces import PROJECT
from wmtp.cli_flows import PRESETS, run_parser, sweep_parser
from wmtp.config import LaunchConfig, compose
from wmtp.errors import ConfigError
from wmtp.headlines import headlines


def test_the_help_has_every_option_preset_and_profile_with_a_line():
    text = run_parser(PROJECT).format_help()
    for option in ("--profile", "--arms", "--seeds", "--force", "--only", "--workspace", "--no-pull", "--dry", "--verbose"):
        assert option in text
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  ")]
    for names in ({name: preset.what for name, preset in PRESETS.items()}, headlines(PROJECT, "profiles")):
        assert all([name, what] in lines for name, what in names.items())
    assert "profiles:" in sweep_parser(PROJECT).format_help() and "profiles:" not in run_parser(None).format_help()


def test_options_and_settings_may_be_mixed():
    given, manner = command.parse(["full-rho1", "a=1", "--seeds", "0,1", "b=2", "--force", "x,y", "--force", "z", "-v"])
    assert given == {
        "arms": ["baseline", "rho1"],
        "profile": "demo",
        "seeds": [0, 1],
        "overrides": ["a=1", "b=2"],
        "force": ["x", "y", "z"],
    }
    assert manner == command.Manner(is_verbose=True)
    assert sweep_command.parse(["a=1,2", "--dry"])[1] == command.Manner(is_dry=True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], r"the following arguments are required: PRESET \(see `wmtp run --help`\)"),
        (["nonsense"], "unknown 'nonsense'"),
        (["compare", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["compare", "--workspace="], "argument --workspace: is empty"),
        (["compare", "--works", "x"], "--workspace must be written out"),
    ],
)
def test_a_mistake_is_one_line(argv, message):
    with pytest.raises(ConfigError, match=message):
        command.parse(argv)


def test_a_report_that_is_lost_is_named_before_it_is(tmp_path):
    two = compose(PROJECT, "toy", arms=["baseline", "rho1"])
    assert command.replaced(tmp_path, two) is None
    path = tmp_path / "artifacts/report/report.json"
    path.parent.mkdir(parents=True)
    for profile, runs, said in (
        ("toy", ["baseline-s0", "rho1-s0"], None),
        ("toy", ["baseline-s0"], None),
        ("toy", ["baseline-s0", "ntp-s0", "rho1-s1"], "(profile toy, 3 runs) gives way to one without ntp-s0, rho1-s1:"),
        ("demo", ["baseline-s0", "rho1-s0"], "(profile demo, 2 runs) gives way to one of profile toy:"),
    ):
        path.write_text(json.dumps({"profile": profile, "runs": [{"run": run} for run in runs]}))
        found = command.replaced(tmp_path, two)
        assert found is None if said is None else said in found
    path.write_text('{"profile":')
    assert command.replaced(tmp_path, two) is None


@pytest.mark.parametrize("main", [command.main, sweep_command.main])
@pytest.mark.parametrize(("name", "value"), [("WMTP_LAUNCH", "nonsense"), ("WMTP_NPROC", "many")])
def test_a_launch_configuration_that_cannot_be_is_refused_before_anything_starts(main, name, value, monkeypatch, capsys):
    monkeypatch.setenv(name, value)
    preset = ["compare"] if main is command.main else []
    assert main([*preset, "train_policy.train.steps=100,200"]) == 2
    assert value in one_line(capsys)


@pytest.mark.parametrize("value", ["", "abc", "0", "65536", "-1", "4200.5"])
def test_a_port_that_is_none_is_refused(value, monkeypatch):
    monkeypatch.setenv("WMTP_MLFLOW_PORT", value)
    with pytest.raises(ConfigError, match=f"WMTP_MLFLOW_PORT={value} must be a port"):
        serve.serve(PROJECT)


@pytest.mark.parametrize("look", [command.examine, command.prepare])
def test_a_package_that_programs_cannot_be_offered_is_said_before_anything_starts(tmp_path, look):
    config = compose(PROJECT, "toy", overrides=["evaluate.sandbox.packages=[nosuch]"])
    with pytest.raises(
        ConfigError, match=r"^evaluate\.sandbox\.packages=\['nosuch'\]: the package nosuch is not installed here"
    ):
        look(tmp_path, LaunchConfig(), config)


@pytest.mark.parametrize("look", [command.examine, command.prepare])
def test_ranks_that_cannot_share_a_batch_are_refused_before_anything_starts(tmp_path, look):
    config = compose(PROJECT, "toy")
    with pytest.raises(ConfigError, match=r"micro_batch_size=\d+ is not allowed: a multiple of 6, the ranks that share it"):
        look(tmp_path, LaunchConfig(launcher="slurm", nproc_per_node=3, nnodes=2), config)
