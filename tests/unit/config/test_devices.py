"""What `auto` stands for in a launch configuration, on machines with and without GPUs."""

import pytest

from wmtp.config import devices
from wmtp.config.compose import load_launch
from wmtp.errors import ConfigError

GPUS = "device: cuda\ndevices: auto\nnproc_per_node: auto\n"


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    folder = tmp_path / "configs/launch"
    folder.mkdir(parents=True)
    (folder / "local.yaml").write_text(GPUS)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))  # no driver's tools but the test's own
    for variable in (devices.VISIBLE, "WMTP_LAUNCH", "WMTP_NPROC", "WMTP_SLOTS"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def has_driver(workspace, script):
    program = workspace / "bin/nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_the_driver_says_how_many_there_are(workspace):
    has_driver(workspace, '[ "$1" = --query-gpu=index ] && echo 0 && echo 1 && echo 2')
    launch = load_launch(workspace)
    assert (launch.devices, launch.nproc_per_node) == (["0", "1", "2"], 3)


def test_the_environment_says_which_of_them_may_be_used(workspace, monkeypatch):
    has_driver(workspace, "echo 0; echo 1")
    monkeypatch.setenv(devices.VISIBLE, "3, GPU-8a1b")
    monkeypatch.setenv("WMTP_NPROC", "1")
    launch = load_launch(workspace)
    assert (launch.devices, launch.nproc_per_node) == (["3", "GPU-8a1b"], 1)


@pytest.mark.parametrize("script", [None, "echo 'no devices were found'; exit 6"])
def test_a_machine_without_any_is_told_what_else_there_is(workspace, script):
    if script:
        has_driver(workspace, script)
    with pytest.raises(ConfigError, match=r"launch\.devices=auto: no GPU here .*WMTP_LAUNCH=local"):
        load_launch(workspace)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("devices: ['0', '1']\nnproc_per_node: 3\n", r"launch\.nproc_per_node.*at most 2 ranks"),
        ("devices: ['0', '1']\nnproc_per_node: 1\nslots: 2\n", r"no launch\.slots beside them"),
        ("devices: ['0', '0']\nnproc_per_node: 1\n", r"launch\.devices.*every device once"),
        ("nproc_per_node: auto\n", r"launch\.nproc_per_node=auto: .* there are none"),
    ],
)
def test_what_does_not_fit_together_is_refused(workspace, text, said):
    (workspace / "configs/launch/local.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_launch(workspace)
