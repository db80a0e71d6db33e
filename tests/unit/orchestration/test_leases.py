"""Leases among real processes, each of which says that it is on a host of its own; those are killed, stopped and let go on."""

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

from tests.workspaces import PATIENCE_S, wait_for
from wmtp.errors import LaunchError
from wmtp.orchestration import leases

pytestmark = pytest.mark.slow

HOLDER = """
import os, subprocess, sys
from pathlib import Path
from wmtp.errors import LaunchError
from wmtp.orchestration import leases, processes
host, folder, lease_s = sys.argv[1:4]
leases.here = lambda: f"{host}/boot/0"
processes.interrupt_on_sigterm()
try:
    with leases.held(Path(folder), ["0"], float(lease_s), "a slot", host) as environment:
        rank = subprocess.Popen([sys.executable, "-c", sys.argv[4]], env={**os.environ, **environment})
        print("has it, rank", rank.pid, flush=True)
        sys.stdin.read()
    rank.kill()
    print("gave it back", flush=True)
except LaunchError as error:
    print(error, flush=True)
"""
RANK = """
import os, time
from wmtp.orchestration import leases
leases.end_with_lease(os.environ, lambda error: os._exit(1))
time.sleep(900)
"""
WORKER = """
import os, sys, time
from pathlib import Path
from wmtp.orchestration import leases
host, folder, times = sys.argv[1:4]
leases.here = lambda: f"{host}/boot/0"
for _ in range(int(times)):
    with leases.held(Path(folder), ["0", "1"], 600, "a slot", host) as environment:
        inside = Path(folder) / ("inside-" + leases.Lease(**leases.json.loads(environment[leases.LEASE])).slot)
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
        time.sleep(0.02)
        inside.unlink()
"""
LEASE_S = 12.0


@pytest.fixture
def start(tmp_path):
    """Starts a holder, or one that waits, on a host."""
    started = []

    def holder(host, lease_s=LEASE_S):
        command = [sys.executable, "-c", HOLDER, host, str(tmp_path), str(lease_s), RANK]
        how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen(command, start_new_session=True, **how))
        return started[-1]

    yield holder
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def line(process):
    return process.stdout.readline().strip()


def rank_of(said):
    assert said.startswith("has it, rank ")
    return int(said.rpartition(" ")[2])


def is_alive(pid):
    try:
        return "State:\tZ" not in open(f"/proc/{pid}/status").read()
    except FileNotFoundError:
        return False


def test_so_many_hold_so_many_slots_whoever_contends(tmp_path):
    """Whoever finds another one inside of the same slot fails."""
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, f"host-{n}", str(tmp_path), "6"]) for n in range(6)]
    assert [worker.wait(timeout=600) for worker in workers] == [0] * 6
    taken = Counter(path.name.split(".")[0] for path in tmp_path.glob("*.holder"))
    assert sum(taken.values()) == 36 and all(path.with_suffix(".free").exists() for path in tmp_path.glob("*.holder"))
    assert not list(tmp_path.glob(".*"))


def test_a_slot_is_given_back_at_the_end(start):
    first = start("a")
    rank_of(line(first))
    second = start("b")
    assert line(second) == "waiting for a slot, held by a"
    first.stdin.close()
    assert line(first) == "gave it back"
    rank_of(line(second))


def test_one_of_many_takes_over_once_from_a_holder_that_was_killed(start, tmp_path):
    dead = start("a")
    rank = rank_of(line(dead))
    waiting = [start(host) for host in "bcde"]
    assert {line(process) for process in waiting} == {"waiting for a slot, held by a"}
    dead.kill()
    wait_for(lambda: len(list(tmp_path.glob("*.holder"))) == 2, PATIENCE_S, "the takeover")
    assert not is_alive(rank), "without its launcher, a rank ends by itself, and before"
    holder = leases.json.loads((tmp_path / "0.00000002.holder").read_text())["host"][0]
    rank_of(line(waiting["bcde".index(holder)]))
    assert not list(tmp_path.glob("0.00000003*"))


def test_whose_host_sees_that_the_holder_is_dead_need_not_wait(start):
    first = start("a", lease_s=6000)
    rank_of(line(first))
    second = start("a", lease_s=6000)
    assert line(second) == "waiting for a slot, held by a"
    first.kill()
    first.wait()
    rank_of(line(second))


def test_a_holder_that_is_stopped_for_longer_than_the_lease_has_lost_it_and_its_ranks(start):
    stopped = start("a")
    rank = rank_of(line(stopped))
    other = start("b")
    assert line(other) == "waiting for a slot, held by a"
    os.kill(stopped.pid, signal.SIGSTOP)
    rank_of(line(other))
    assert not is_alive(rank), "its rank was not stopped, and must not go on beside the other one's"
    os.kill(stopped.pid, signal.SIGCONT)
    said = line(stopped)
    assert said.startswith("the lease of slot 0 in ") and said.endswith("; the next try waits for a slot again")


def test_a_rank_that_was_stopped_too_ends_as_soon_as_it_moves(start):
    stopped = start("a")
    rank = rank_of(line(stopped))
    for pid in (stopped.pid, rank):
        os.kill(pid, signal.SIGSTOP)
    other = start("b")
    assert line(other) == "waiting for a slot, held by a"
    rank_of(line(other))
    os.kill(rank, signal.SIGCONT)
    wait_for(lambda: not is_alive(rank), PATIENCE_S, "the rank's end")


def test_files_of_generations_that_are_long_past_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "_KEPT", 3)
    for _ in range(8):
        with leases.held(tmp_path, ["0"], 600, "a slot"):
            pass
    assert sorted(path.name for path in tmp_path.glob("*.holder")) == [f"0.{number:08d}.holder" for number in (5, 6, 7, 8)]


def test_others_of_the_group_can_use_the_files_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        with leases.held(tmp_path, ["0"], 600, "a slot"):
            pass
    finally:
        os.umask(before)
    assert {path.suffix: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        ".holder": 0o664,
        ".beat": 0o664,
        ".free": 0o664,
    }


def test_a_place_where_none_can_be_had_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LaunchError) as caught, leases.held(tmp_path / "file" / "leases", ["0"], PATIENCE_S, "a slot"):
        pass
    assert str(caught.value) == f"launch.lease={tmp_path}/file/leases: no lease can be had there: Not a directory"
