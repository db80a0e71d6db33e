"""Stages as jobs of a real Slurm: two nodes of one process each, all on this machine (scripts/slurm-on-one-host)."""

import shutil
import signal
import subprocess

import pytest

from tests.integration.one_host import on_one_host
from tests.integration.training import RUN, STAGE, back_to_toy, same_folder, started
from tests.workspaces import free_port, wait_for

LAUNCH = """
launcher: slurm
device: cpu
nnodes: 2
nproc_per_node: 1
srun: [--cpus-per-task=1]
"""
ON_SLURM = {"WMTP_LAUNCH": "two_nodes"}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The path of a running Slurm's configuration."""
    folder = tmp_path_factory.mktemp("slurm")
    with on_one_host("slurm", folder, free_port(count=3)):
        yield str(folder / "slurm.conf")


@pytest.fixture
def cluster(fresh, slurm, monkeypatch):
    """The workspace with a launch configuration for both nodes."""
    monkeypatch.setenv("SLURM_CONF", slurm)
    (fresh.root / "configs/launch/two_nodes.yaml").write_text(LAUNCH)
    yield fresh
    assert jobs() == []


def jobs():
    """(state, number of nodes) of every job that Slurm still has."""
    shown = subprocess.run(["squeue", "--noheader", "--format=%T %D"], capture_output=True, text=True, check=True)
    return [tuple(line.split()) for line in shown.stdout.splitlines()]


def test_a_stage_on_two_nodes_gives_the_same_bits_as_two_ranks_here(cluster):
    policy, kept = cluster.root / "artifacts/policy/baseline-s0", cluster.root / "kept"
    policy.rename(kept)
    cluster.run("wmtp", "stage", STAGE, **ON_SLURM)
    assert same_folder(kept, policy)
    shutil.rmtree(kept)
    cluster.run("dvc", "commit", "--force", STAGE)
    cluster.run("dvc", "repro")


def test_a_run_that_is_stopped_takes_its_job_along_and_the_next_one_goes_on(cluster):
    command = [*RUN, "train_policy.optim.clip_norm=220"]
    for number in (signal.SIGKILL, signal.SIGINT):
        process = started(cluster, *command, **ON_SLURM)
        assert jobs() == [("RUNNING", "2")]
        process.send_signal(number)
        output, _ = process.communicate(timeout=20)
        assert cluster.wait_until_gone(10) == []
        wait_for(lambda: jobs() == [], 10, "the end of the job")
    assert "resumed from step" in output
    back_to_toy(cluster)


def test_a_run_that_is_stopped_while_its_job_waits_takes_it_along(cluster):
    (cluster.root / "configs/launch/two_nodes.yaml").write_text(LAUNCH.replace("srun: [", "srun: [--begin=now+1hour, "))
    process = cluster.start(*RUN, "train_policy.optim.clip_norm=221", **ON_SLURM)
    wait_for(lambda: jobs() == [("PENDING", "2")], 60, "a job that waits")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert cluster.wait_until_gone(10) == []
    wait_for(lambda: jobs() == [], 10, "the end of the job")


def test_a_job_that_cannot_be_had_is_said(cluster):
    path = cluster.root / "configs/launch/two_nodes.yaml"
    path.write_text(LAUNCH.replace("srun: [", "srun: [--partition=nowhere, "))
    output = cluster.run("wmtp", "stage", STAGE, code=1, **ON_SLURM)
    assert f"error: {STAGE}: " in output and "srun: error: invalid partition" in output
