"""How commands are put together, and how nodes find each other; real Slurm and torchrun are the integration tests' part."""

import threading
import time

import pytest

from wmtp.config import LaunchConfig
from wmtp.errors import ConfigError, LaunchError, PreemptedError
from wmtp.orchestration import cluster, processes


def test_ranks_of_one_machine_meet_on_the_machine():
    command = cluster.torchrun_command(LaunchConfig(nproc_per_node=3), "token")
    assert {"--nnodes=1", "--nproc-per-node=3", "--rdzv-id=token", "--rdzv-endpoint=127.0.0.1:0"} <= set(command)
    assert "wmtp.orchestration.torchrun" in command
    assert command[command.index("--local-addr=127.0.0.1") + 1 :] == ["-m", "wmtp.stages"]


def test_a_nodes_own_options_take_the_place_of_the_machines():
    command = cluster.torchrun_command(LaunchConfig(), "token", "--node-rank=1", endpoint="host:7")
    assert "--rdzv-endpoint=host:7" in command and "--local-addr=127.0.0.1" not in command
    assert command[-3:] == ["--node-rank=1", "-m", "wmtp.stages"]


def test_a_slurm_job_has_one_agent_a_node_and_the_users_options_last():
    launch = LaunchConfig(launcher="slurm", nnodes=2, srun=["--partition=a", "--time=1:00:00"])
    command = cluster.srun_command(launch, "train_policy@rho1-s0", "0123456789ab")
    assert command[:2] == ["srun", "--job-name=train_policy@rho1-s0-01234567"]
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1"} <= set(command)
    assert command[-5:-3] == ["--partition=a", "--time=1:00:00"] and command[-2:] == ["-m", "wmtp.orchestration.cluster"]


def test_a_job_that_a_person_ended_is_told_from_one_that_slurm_took_back():
    line = "slurmstepd-n1: error: *** STEP 4.0 ON n1 CANCELLED AT 2026-11-26T15:05:39"
    assert cluster.was_cancelled(f"srun: waiting\n{line} ***\n")
    assert not any(cluster.was_cancelled(f"{line} DUE TO {why} ***") for why in ("PREEMPTION", "TIME LIMIT", "JOB REQUEUE"))
    for kill in ("srun: launch/slurm: _step_signal: Terminating StepId=4.0", "srun: Terminating job step 4.0"):
        assert not cluster.was_cancelled(f"srun: error: n2: task 1: Exited with exit code 1\n{kill}\n{line} ***\n")
        assert cluster.was_cancelled(f"{line} ***\n{kill}\n")


def test_a_host_without_slurm_starts_nothing_of_slurms(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    cluster.require_launcher(LaunchConfig())
    with pytest.raises(ConfigError, match=r"^launch\.launcher=slurm: there is no srun here"):
        cluster.require_launcher(LaunchConfig(launcher="slurm"))
    (tmp_path / "srun").touch(mode=0o755)
    cluster.require_launcher(LaunchConfig(launcher="slurm"))


def test_outside_of_a_job_nothing_is_requeued(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert not cluster.is_being_requeued() and cluster.grace_s() == processes.GRACE_SECONDS
    with pytest.raises(PreemptedError, match="at step 3"), cluster.requeued_if_preempted():
        raise PreemptedError(3)


def test_the_first_node_says_where_and_the_others_wait_for_it(tmp_path):
    path, found = tmp_path / "rendezvous", []
    waiting = threading.Thread(target=lambda: found.append(cluster._meet(path, is_first=False)))
    waiting.start()
    time.sleep(0.3)
    assert waiting.is_alive()
    endpoint = cluster._meet(path, is_first=True)
    waiting.join(timeout=300)
    assert found == [endpoint] and int(endpoint.rpartition(":")[2]) > 0
    assert [one.name for one in tmp_path.iterdir()] == ["rendezvous"]


def test_a_first_node_that_does_not_come_is_an_error_that_names_the_file_system(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "RENDEZVOUS_SECONDS", 0.3)
    with pytest.raises(LaunchError, match="on a file system that all nodes share"):
        cluster._meet(tmp_path / "rendezvous", is_first=False)
