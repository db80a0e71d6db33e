"""Signals that a real process gets, and what it makes of them; several ranks are in tests/distributed."""

import subprocess
import sys

import pytest

from tests.workspaces import wait_for

PROGRAM = """
import os, signal, sys, time
from wmtp.errors import PreemptedError
from wmtp.notice import Told, heeded, listen, stop_listening
{before}
listen()
try:
    {body}
except (Told, PreemptedError) as notice:
    os.kill(os.getpid(), signal.SIGTERM)  # a second one shall not disturb the end
    print(notice)
    sys.exit(75)
print("went on")
"""
KILL = "os.kill(os.getpid(), signal.{number})"


def run(body, before=""):
    command = [sys.executable, "-c", PROGRAM.format(body=body, before=before)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return process.returncode, process.stdout.strip()


@pytest.mark.parametrize("number", ["SIGUSR1", "SIGTERM"])
def test_a_process_that_has_nothing_to_keep_ends_at_once(number):
    assert run(f"{KILL.format(number=number)}; time.sleep(60)") == (75, "preempted")


@pytest.mark.parametrize("number", ["SIGUSR1", "SIGTERM"])
def test_while_notice_is_heeded_it_waits_for_who_asks(number):
    alone = "from wmtp.distributed import World; import torch; world = World.alone(torch.device('cpu'))"
    body = f"""with heeded(world) as departure:
        print(departure.is_due(), end=" ")
        {KILL.format(number=number)}
        print(departure.is_due(), end=" ")"""
    assert run(body, alone) == (0, "False True went on")


def test_who_left_at_a_step_is_not_disturbed_by_another_signal():
    """A launcher repeats its own until all are gone."""
    alone = "from wmtp.distributed import World; import torch; world = World.alone(torch.device('cpu'))"
    body = f"""with heeded(world):
        {KILL.format(number="SIGUSR1")}
        raise PreemptedError(7)"""
    assert run(body, alone) == (75, "preempted at step 7")
    assert run(f"stop_listening(); {KILL.format(number='SIGUSR1')}") == (0, "went on")


def test_a_signal_that_was_ignored_before_is_heard():
    """As the launcher has it for everything below."""
    assert run(f"{KILL.format(number='SIGUSR1')}; time.sleep(60)", "signal.signal(signal.SIGUSR1, signal.SIG_IGN)")[0] == 75


def test_a_sleeping_process_is_woken():
    sleeping = "print('ready', flush=True); [time.sleep(20) for _ in range(30)]"  # on the way into a sleep none wakes it
    text = PROGRAM.format(body=sleeping, before="")
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    wait_for(lambda: process.poll() is not None, 300, "the end")
    assert process.returncode == 75
    process.communicate()
