"""Stages as jobs of a real Slurm: two nodes of one process each, all on this machine (scripts/slurm-on-one-host)."""

import re
import signal
import subprocess

import pytest

from tests.integration.one_host import on_one_host
from tests.integration.training import LONG, RUN, STAGE, back_to_toy, progress, same_folder, started, step_of
from tests.workspaces import PATIENCE_S, free_port, wait_for

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
    try:
        wait_for_no_job()
    finally:
        subprocess.run(["scancel", "--user=root"], check=True)  # a failed test's job would keep the next one waiting


def queue():
    """(number, state, nodes) of every job that waits or runs: what has ended stays listed as COMPLETING for a while."""
    shown = subprocess.run(["squeue", "--noheader", "--format=%i %T %D"], capture_output=True, text=True, check=True)
    jobs = [tuple(line.split()) for line in shown.stdout.splitlines()]
    return [job for job in jobs if job[1] in ("PENDING", "RUNNING")]


def only_job(state):
    """The number of the only job, once it is in that state, of both nodes."""

    def number():
        jobs = queue()
        return jobs[0][0] if [job[1:] for job in jobs] == [(state, "2")] else None

    return wait_for(number, PATIENCE_S, f"one job, {state}")


def wait_for_no_job():
    wait_for(lambda: not queue(), 60, "the end of the job")


def test_a_stage_on_two_nodes_gives_the_same_bits_as_two_ranks_here(cluster, tmp_path):
    policy, kept = cluster.root / "artifacts/policy/baseline-s0", tmp_path / "kept"
    policy.rename(kept)
    cluster.run("wmtp", "stage", STAGE, **ON_SLURM)
    assert same_folder(kept, policy)
    cluster.run("dvc", "checkout", "--force")  # the times in the results differ


def test_a_run_that_is_stopped_takes_its_job_along_and_the_next_one_goes_on(cluster):
    command = [*RUN, "train_policy.optim.clip_norm=220"]
    for number, step in ((signal.SIGKILL, 30), (signal.SIGINT, 50)):
        process = started(cluster, *command, step=step, **ON_SLURM)
        only_job("RUNNING")
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE_S)
        assert cluster.wait_until_gone() == []
        wait_for_no_job()
    assert "resumed from step" in output
    back_to_toy(cluster)


def test_a_job_that_slurm_takes_back_is_queued_again_and_goes_on_where_it_left(cluster):
    """What `srun: [--signal=USR1@60]` sends before the time is over, sent now: to the job's steps."""
    process = started(cluster, *RUN, "train_policy.optim.clip_norm=222", **ON_SLURM)
    first = only_job("RUNNING")
    subprocess.run(["scancel", "--signal=USR1", first], check=True)
    wait_for(lambda: any(number != first for number, *_ in queue()), PATIENCE_S, "the next job")
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    (step,) = set(re.findall(rf"{STAGE}: preempted at step (\d+), requeued", output))
    assert f"resumed from step {step}\n" in output and "error: " not in output and "trying once more" not in output
    back_to_toy(cluster)


def test_a_job_that_somebody_ends_is_not_queued_again(cluster):
    process = started(cluster, *RUN, "train_policy.optim.clip_norm=223", **ON_SLURM)
    subprocess.run(["scancel", only_job("RUNNING")], check=True)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 75 and "the next run goes on from there" in output and "requeued" not in output
    wait_for_no_job()
    back_to_toy(cluster)


def test_a_batch_job_that_is_requeued_says_so_and_goes_on_where_it_left(cluster):
    """Everything in the job has SIGTERM at once: the batch script, the launcher, srun, the agents and the ranks."""
    cluster.run("wmtp", "params", *LONG, "train_policy.optim.clip_norm=224")
    script, said = cluster.root / "job.sh", cluster.root / "job.out"
    script.write_text(f"#!/bin/sh\nwmtp stage {STAGE}\necho exit code $?\n")
    progress(cluster).unlink(missing_ok=True)
    options = ["--nodes=2", "--ntasks-per-node=1", "--requeue", "--open-mode=append", "--output=job.out"]
    cluster.run("sbatch", *options, "job.sh", **ON_SLURM)
    wait_for(lambda: step_of(cluster) >= 30, PATIENCE_S, "training")
    job = only_job("RUNNING")
    cluster.run("scontrol", "requeue", job)
    (step,) = wait_for(
        lambda: re.findall(rf"{STAGE}: preempted at step (\d+), requeued", said.read_text()), PATIENCE_S, "the checkpoint"
    )
    assert only_job("PENDING") == job
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm waits for two minutes of its own
    wait_for(lambda: "exit code 0" in said.read_text(), PATIENCE_S, "the end")
    assert f"resumed from step {step}\n" in said.read_text()
    wait_for_no_job()
    script.unlink(), said.unlink()
    (cluster.root / "params.yaml").write_text(cluster.toy)
    cluster.run("dvc", "checkout", "--force")


def test_a_run_that_is_stopped_while_its_job_waits_takes_it_along(cluster):
    (cluster.root / "configs/launch/two_nodes.yaml").write_text(LAUNCH.replace("srun: [", "srun: [--begin=now+1hour, "))
    process = cluster.start(*RUN, "train_policy.optim.clip_norm=221", **ON_SLURM)
    only_job("PENDING")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert cluster.wait_until_gone() == []
    wait_for_no_job()


def test_a_job_that_cannot_be_had_is_said(cluster):
    path = cluster.root / "configs/launch/two_nodes.yaml"
    path.write_text(LAUNCH.replace("srun: [", "srun: [--partition=nowhere, "))
    output = cluster.run("wmtp", "stage", STAGE, code=1, **ON_SLURM)
    assert f"error: {STAGE}: " in output and "srun: error: invalid partition" in output
