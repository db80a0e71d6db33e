"""Stages as jobs of a real Slurm: two nodes of one process each, all on this machine (scripts/slurm-on-one-host)."""

import re
import shutil
import signal
import subprocess

import pytest

from tests.integration.one_host import on_one_host
from tests.integration.training import LONG, RUN, STAGE, back_to_toy, progress, same_folder, started, step_of
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


def job_id():
    (found,) = subprocess.run(
        ["squeue", "--noheader", "--format=%i"], capture_output=True, text=True, check=True
    ).stdout.split()
    return found


def test_a_job_that_slurm_takes_back_is_queued_again_and_goes_on_where_it_left(cluster):
    """What `srun: [--signal=USR1@60]` sends before the time is over, sent now: to the job's steps."""
    process = started(cluster, *RUN, "train_policy.optim.clip_norm=222", **ON_SLURM)
    first = job_id()
    subprocess.run(["scancel", "--signal=USR1", first], check=True)
    wait_for(lambda: jobs() and job_id() != first, 120, "the next job")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    (step,) = set(re.findall(rf"{STAGE}: preempted at step (\d+), requeued", output))
    assert f"resumed from step {step}\n" in output and "error: " not in output and "trying once more" not in output
    back_to_toy(cluster)


def test_a_job_that_somebody_ends_is_not_queued_again(cluster):
    process = started(cluster, *RUN, "train_policy.optim.clip_norm=223", **ON_SLURM)
    subprocess.run(["scancel", job_id()], check=True)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 75 and "the next run goes on from there" in output and "requeued" not in output
    assert jobs() == []
    back_to_toy(cluster)


def test_a_batch_job_that_is_requeued_says_so_and_goes_on_where_it_left(cluster):
    """Everything in the job has SIGTERM at once: the batch script, the launcher, srun, the agents and the ranks."""
    cluster.run("wmtp", "params", *LONG, "train_policy.optim.clip_norm=224")
    script, said = cluster.root / "job.sh", cluster.root / "job.out"
    script.write_text(f"#!/bin/sh\nwmtp stage {STAGE}\necho exit code $?\n")
    progress(cluster).unlink(missing_ok=True)
    options = ["--nodes=2", "--ntasks-per-node=1", "--requeue", "--open-mode=append", "--output=job.out"]
    cluster.run("sbatch", *options, "job.sh", **ON_SLURM)
    wait_for(lambda: step_of(cluster) >= 30, 300, "training")
    job = job_id()
    cluster.run("scontrol", "requeue", job)
    wait_for(lambda: jobs() == [("PENDING", "2")], 120, "the requeue")
    (step,) = re.findall(rf"{STAGE}: preempted at step (\d+), requeued", said.read_text())
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm waits for two minutes of its own
    wait_for(lambda: "exit code 0" in said.read_text(), 300, "the end")
    assert f"resumed from step {step}\n" in said.read_text()
    wait_for(lambda: jobs() == [], 60, "the end of the job")
    script.unlink(), said.unlink()
    cluster.run("wmtp", "params", "--profile", "toy")
    cluster.run("dvc", "checkout", "--force")


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
