"""Real processes that stand still, and what is said and kept of them."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from tests.workspaces import PATIENCE_S, wait_for
from wmtp.orchestration import processes, watch
from wmtp.orchestration.watch import STALL_LINE, Watch, pass_requests_on, ranks_of, request_stacks

RANK = """
import sys, time
from pathlib import Path
from wmtp.orchestration.watch import show_stacks_on_request
show_stacks_on_request(Path(sys.argv[1]), int(sys.argv[2]))
def caught_in_here():
    time.sleep(600)
caught_in_here()
"""
TOKEN = "token-of-a-test"


@pytest.fixture
def ranks(tmp_path):
    """Two processes that can be asked, and one of another launch with the name of a third."""
    started = [
        subprocess.Popen([sys.executable, "-c", RANK, tmp_path, str(rank)], env={**os.environ, processes.TOKEN: token})
        for rank, token in ((0, TOKEN), (1, TOKEN), (2, "another"))
    ]
    wait_for(lambda: len(list(tmp_path.glob("stacks-*-*"))) == 3, PATIENCE_S, "the ranks")
    yield started
    for process in started:
        process.kill()
        process.wait()


def stack(folder, rank):
    (path,) = folder.glob(f"stacks-{rank}-*")
    return path.read_text()


class Heard:
    """A watch of the folder's launch, and what it said and noted."""

    def __init__(self, folder, timeout_s):
        self.said, self.noted = [], []
        self.watch = Watch(
            "train", folder, TOKEN, timeout_s, progress=folder / "progress", say=self.said.append, note=self.noted.append
        )


def test_what_stands_still_is_said_and_everyones_stack_is_kept(tmp_path, ranks):
    ranks[1].send_signal(signal.SIGSTOP)
    wait_for(lambda: psutil.Process(ranks[1].pid).status() == psutil.STATUS_STOPPED, PATIENCE_S, "the stop")
    heard = Heard(tmp_path, 4.0)
    with heard.watch:
        wait_for(lambda: len(heard.noted) >= 3, PATIENCE_S, "the notice")
    assert STALL_LINE.match(heard.said[0]) and "rank 1 is stopped; every rank's stack is in the log" in heard.said[0]
    assert heard.watch.states == {1: "stopped"}
    notes = dict(zip("012", heard.noted, strict=False))
    assert "caught_in_here" in notes["0"] and notes["0"].startswith("--- rank 0, after ")
    assert notes["1"].endswith("without progress\nno answer\n")


def impatient(folder):
    heard = Heard(folder, 40.0)
    heard.watch._first_s = heard.watch._notice_s = 2.0
    return heard


def speak(heard):
    """For five seconds, and how long it was held up at most: a loaded machine may do so to the test itself."""
    gaps, last = [], time.monotonic()
    while sum(gaps) < 5:
        heard.watch.heard()
        time.sleep(0.05)
        now = time.monotonic()
        gaps.append(now - last)
        last = now
    return max(gaps)


def test_who_speaks_gets_on(tmp_path):
    held_up_s = 5.0
    while held_up_s > 1.0:
        heard = impatient(tmp_path)
        with heard.watch:
            held_up_s = speak(heard)
    assert heard.said == []


def test_who_moves_its_progress_file_gets_on(tmp_path):
    heard = impatient(tmp_path)
    with heard.watch:
        wait_for(lambda: heard.said, PATIENCE_S, "the notice")
        (tmp_path / "progress").touch()
        wait_for(lambda: "train: gets on again" in heard.said, PATIENCE_S, "the end of it")


def test_only_the_launchs_own_processes_are_asked(tmp_path, ranks):
    assert ranks_of(tmp_path, TOKEN).keys() == {0, 1}
    request_stacks(tmp_path, TOKEN)
    for rank in (0, 1):
        wait_for(lambda rank=rank: "caught_in_here" in stack(tmp_path, rank), PATIENCE_S, "the stack")
    ranks[1].kill()
    ranks[1].wait()
    assert ranks_of(tmp_path, TOKEN).keys() == {0}
    assert stack(tmp_path, 2) == "" and ranks[2].poll() is None


def test_a_nodes_agent_passes_the_request_on(tmp_path, ranks, monkeypatch):
    monkeypatch.setattr(watch, "_POLL_SECONDS", 0.05)
    threading.Thread(target=pass_requests_on, args=(tmp_path, TOKEN), daemon=True).start()
    time.sleep(0.2)
    (tmp_path / watch._REQUEST).touch()
    wait_for(lambda: "caught_in_here" in stack(tmp_path, 0), PATIENCE_S, "the stack")
