"""What `auto` stands for in a launch configuration, on machines with and without GPUs."""

import pytest

from wmtp.config import devices
from wmtp.config.compose import load_launch
from wmtp.errors import ConfigError

LISTED = "echo 0, GPU-a; echo 1, GPU-b"
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
    has_driver(workspace, f'[ "$1" = --query-gpu=index,uuid ] && {LISTED}')
    launch = load_launch(workspace)
    assert (launch.devices, launch.nproc_per_node) == (["GPU-a", "GPU-b"], 2)


def test_the_environment_says_which_of_them_may_be_used(workspace, monkeypatch):
    monkeypatch.setenv(devices.VISIBLE, "3, GPU-8a1b")
    monkeypatch.setenv("WMTP_NPROC", "1")
    launch = load_launch(workspace)
    assert (launch.devices, launch.nproc_per_node) == (["3", "GPU-8a1b"], 1)


def test_a_device_has_one_name_whether_it_is_named_by_index_or_not(workspace, monkeypatch):
    """Stages that know it by different names would both take it."""
    has_driver(workspace, LISTED)
    monkeypatch.setenv(devices.VISIBLE, "1")
    assert load_launch(workspace).devices == ["GPU-b"]
    monkeypatch.setenv(devices.VISIBLE, "GPU-b")
    assert load_launch(workspace).devices == ["GPU-b"]


@pytest.mark.parametrize("visible", ["0,-1,1", "0,none", "7", "GPU", "all", "0;1"])
def test_what_is_no_device_is_refused_and_not_cut_off(workspace, monkeypatch, visible):
    has_driver(workspace, LISTED)
    monkeypatch.setenv(devices.VISIBLE, visible)
    with pytest.raises(ConfigError, match=f"^CUDA_VISIBLE_DEVICES={visible}: .* is no device here; indices"):
        load_launch(workspace)


@pytest.mark.parametrize("visible", ["", " ", ",", "-1"])
def test_an_environment_that_hides_all_of_them_is_said(workspace, monkeypatch, visible):
    has_driver(workspace, LISTED)
    monkeypatch.setenv(devices.VISIBLE, visible)
    with pytest.raises(ConfigError, match=f"no GPU here .CUDA_VISIBLE_DEVICES='{visible}'"):
        load_launch(workspace)


PARTS = "MIG-8a1b-22,MIG-GPU-8a1b/7/0"


def test_parts_of_a_gpu_are_devices_of_stages_of_one_rank(workspace, monkeypatch):
    monkeypatch.setenv(devices.VISIBLE, PARTS)
    with pytest.raises(ConfigError, match=r"launch.nproc_per_node=2.*1 \(WMTP_NPROC=1\) with MIG devices"):
        load_launch(workspace)
    monkeypatch.setenv("WMTP_NPROC", "1")
    assert load_launch(workspace).devices == PARTS.split(",")


@pytest.mark.parametrize("script", [None, "echo 'no devices were found'; exit 6"])
def test_a_machine_without_any_is_told_what_else_there_is(workspace, script):
    if script:
        has_driver(workspace, script)
    with pytest.raises(ConfigError, match=r"launch\.devices=auto: no GPU here .*WMTP_LAUNCH=local"):
        load_launch(workspace)


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("device: auto\nnproc_per_node: 2\n", "cuda"),
        ("nproc_per_node: 1\n", "cuda"),
        ("device: cpu\nnproc_per_node: 8\n", "cpu"),
        ("launcher: slurm\nnproc_per_node: 8\n", "auto"),  # its nodes' are not this machine's
    ],
)
def test_auto_is_a_gpu_where_there_is_one_for_every_rank(workspace, text, device):
    has_driver(workspace, LISTED)
    (workspace / "configs/launch/local.yaml").write_text(text)
    assert load_launch(workspace).device == device


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_fewer_gpus_than_ranks_are_refused_before_anything_starts(workspace, device):
    has_driver(workspace, "echo 0, GPU-a")
    (workspace / "configs/launch/local.yaml").write_text(f"device: {device}\nnproc_per_node: 2\n")
    with pytest.raises(ConfigError, match=r"launch\.nproc_per_node=2 is more than the GPUs here \(1\): .*WMTP_NPROC=1"):
        load_launch(workspace)


def test_without_a_driver_s_word_a_stage_finds_out_for_itself(workspace):
    (workspace / "configs/launch/local.yaml").write_text("device: auto\nnproc_per_node: 2\n")
    assert load_launch(workspace).device == "auto"


def test_gpus_that_a_configuration_leaves_alone_are_counted(workspace):
    has_driver(workspace, LISTED)
    (workspace / "configs/launch/local.yaml").write_text("device: cpu\n")
    assert devices.unused(load_launch(workspace)) == 2
    (workspace / "configs/launch/local.yaml").write_text(GPUS)
    assert devices.unused(load_launch(workspace)) == 0


@pytest.mark.parametrize(
    ("script", "kind"), [("echo NVIDIA H100 NVL; echo NVIDIA H100 NVL", "NVIDIA H100 NVL"), ("echo a; echo b", None)]
)
def test_the_driver_says_what_kind_they_are(workspace, script, kind):
    has_driver(workspace, f'[ "$1" = --query-gpu=name ] && {{ {script}; }}')
    assert devices.kind() == kind


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("devices: ['0', '1']\nnproc_per_node: 3\n", r"launch\.nproc_per_node.*at most 2 ranks"),
        ("devices: ['0', '1']\nnproc_per_node: 1\nslots: 2\n", r"no launch\.slots beside them"),
        ("devices: ['0', '0']\nnproc_per_node: 1\n", r"launch\.devices.*every device once"),
        ("nproc_per_node: auto\n", r"launch\.nproc_per_node=auto: .* there are none"),
        ("lease: shared/slots\n", r"launch\.lease='shared/slots' .*an absolute path"),
        ("lease: /shared\ndevices: ['0']\nnproc_per_node: 1\n", r"launch\.lease='/shared' .*absent beside launch\.devices"),
        ("lease: /shared\nlease_s: 0\n", r"launch\.lease_s=0 "),
    ],
)
def test_what_does_not_fit_together_is_refused(workspace, text, said):
    (workspace / "configs/launch/local.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_launch(workspace)
