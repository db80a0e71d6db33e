"""Real process trees."""

import os
import subprocess
import sys
import time

import psutil

from wmtp.orchestration import processes

TREE = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print("ready", flush=True)
time.sleep(60)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"


def start(code, **environment):
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert process.stdout.readline() == "ready\n"
    return process


def is_running(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_tree_is_killed_with_what_has_a_session_of_its_own():
    process = start(TREE)
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(tree) == 2
    processes.kill_tree(process.pid)
    assert not any(map(is_running, tree))


def test_an_orphan_is_found_by_its_token():
    process = start(TREE, **{processes.TOKEN: "test-token"})
    (child,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    processes.kill_tree(process.pid, "test-token")
    assert not is_running(child)


def test_what_ignores_sigterm_is_killed():
    process = start(STUBBORN)
    who = processes.identity(process.pid)
    processes.kill_tree(process.pid, grace_s=0.5)
    assert not processes.is_alive(who)


def test_the_death_of_an_owner_is_noticed():
    owner, noticed = start(TREE), []
    processes.on_death([processes.identity(owner.pid)], lambda: noticed.append(True))
    assert processes.is_alive(processes.identity(owner.pid)) and not noticed
    processes.kill_tree(owner.pid)
    deadline = time.monotonic() + 5
    while not noticed and time.monotonic() < deadline:
        time.sleep(0.05)
    assert noticed


def test_a_pid_that_was_given_away_is_not_the_same_process():
    pid, _, start_time = processes.identity().partition(":")
    assert processes.is_alive(f"{pid}:{start_time}")
    assert not processes.is_alive(f"{pid}:{float(start_time) - 100}")
