"""torchrun with one rank that takes its time to leave, and signals to torchrun alone."""

import os
import signal
import subprocess

import pytest

from tests.workspaces import PATIENCE_S, wait_for
from wmtp.config import LaunchConfig
from wmtp.orchestration import cluster, processes
from wmtp.orchestration.assignment import ENVIRONMENT, Assignment

RANK = """
import os, signal, sys, time
from pathlib import Path
from wmtp.orchestration import processes, watch
folder = Path({folder!r})

def leave(number, frame):
    (folder / "told").touch()
    while not (folder / "go").exists():
        time.sleep(0.05)
    (folder / "left").touch()
    os._exit(75)

processes.die_with_parent()
signal.signal(signal.SIGUSR1, leave)
watch.show_stacks_on_request(folder, 0)
time.sleep(900)
"""


@pytest.fixture
def torchrun(tmp_path):
    """torchrun, whose rank can be told to leave."""
    (tmp_path / "rank.py").write_text(RANK.format(folder=str(tmp_path)))
    launch = LaunchConfig(nproc_per_node=1)
    command = [*cluster.torchrun_command(launch, "a token")[: -len(cluster.STAGE)], str(tmp_path / "rank.py")]
    assignment = Assignment(
        "train", tmp_path, tmp_path, (), {}, tmp_path, "", tmp_path / "journal", processes.identity(), launch
    )
    environment = {**os.environ, ENVIRONMENT: assignment.to_json(), processes.TOKEN: "a token"}
    process = subprocess.Popen(command, env=environment, preexec_fn=processes.start_below)
    yield process
    processes.kill_tree(process, "a token", grace_s=0)


def test_sigterm_is_notice_and_a_second_one_does_not_end_torchrun_before_its_ranks_have_left(torchrun, tmp_path):
    wait_for(lambda: [*tmp_path.glob("stacks-0-*")], PATIENCE_S, "the rank")
    torchrun.send_signal(signal.SIGTERM)
    wait_for((tmp_path / "told").exists, PATIENCE_S, "the notice")
    torchrun.send_signal(signal.SIGTERM)
    (tmp_path / "go").touch()
    assert torchrun.wait(timeout=PATIENCE_S) == 1
    assert (tmp_path / "left").exists()
