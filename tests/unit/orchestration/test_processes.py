"""Real process trees."""

import contextvars
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.workspaces import PATIENCE_S, wait_for
from wmtp.orchestration import processes

TREE = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


def start(code, **environment):
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert process.stdout.readline() == "ready\n"
    return process


def is_running(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_tree_is_killed_with_what_has_a_session_of_its_own():
    process = start(TREE)
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(tree) == 2
    processes.kill_tree(process)
    assert not any(map(is_running, tree))


def test_an_orphan_is_found_by_its_token():
    process = start(TREE, **{processes.TOKEN: "test-token"})
    (child,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    processes.kill_tree(process, "test-token")
    assert not is_running(child)


def test_what_ignores_sigterm_is_killed():
    process = start(STUBBORN)
    who = processes.identity(process.pid)
    processes.kill_tree(process, grace_s=0.5)
    assert not processes.is_alive(who)


def test_the_death_of_an_owner_is_noticed():
    owner, noticed = start(TREE), []
    processes.on_death([processes.identity(owner.pid)], lambda: noticed.append(True))
    assert processes.is_alive(processes.identity(owner.pid)) and not noticed
    processes.kill_tree(owner)
    wait_for(lambda: noticed, PATIENCE_S, "the notice")


def test_a_killed_child_keeps_its_exit_code():
    """Whoever else waits for a child takes its exit code away, and `Popen` then says 0."""
    waiting = "print('ready', flush=True); import time; time.sleep(600)"
    for _ in range(5):
        process, codes = start(waiting), []
        waiter = threading.Thread(target=lambda process=process, codes=codes: codes.append(process.wait()))
        waiter.start()
        assert processes.kill_tree(process) == -signal.SIGTERM
        waiter.join()
        assert codes == [-signal.SIGTERM]


def test_a_child_that_has_ended_is_not_looked_for_by_its_pid():
    """Its pid may be another process's by now: here, one that must live."""
    process, stranger = start("print('ready', flush=True)"), start(TREE)
    assert process.wait() == 0
    process.pid = stranger.pid
    assert processes.kill_tree(process) == 0
    assert stranger.poll() is None
    processes.kill_tree(stranger)


def test_a_stopped_process_hears_that_it_shall_end():
    process = start("import time; print('ready', flush=True); time.sleep(600)")
    process.send_signal(signal.SIGSTOP)
    assert processes.kill_tree(process, grace_s=PATIENCE_S) == -signal.SIGTERM, "after that it is SIGKILL"


def test_a_pid_that_was_given_away_is_not_the_same_process():
    pid, boot, ticks = processes.identity().split(":")
    assert processes.is_alive(f"{pid}:{boot}:{ticks}")
    assert not processes.is_alive(f"{pid}:{boot}:{int(ticks) - 1}")
    assert not processes.is_alive(f"{pid}:another-boot:{ticks}")
    assert not processes.is_alive(f"{2**22 + 1}:{boot}:{ticks}")


def test_an_identity_is_what_the_kernel_counts_and_not_what_the_clock_says(monkeypatch):
    """psutil's start times move with the clock, and a step of it must not look like a death."""
    who = processes.identity()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert processes.is_alive(who) and processes.identity() == who
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    assert who.split(":")[2] == stat[22 - 3]


def test_a_process_that_is_gone_has_no_identity():
    process = start("import time; print('ready', flush=True); time.sleep(600)")
    who = processes.identity(process.pid)
    process.kill()
    process.wait()
    assert not processes.is_alive(who)
    with pytest.raises(ProcessLookupError):
        processes.identity(process.pid)


JOB = """
import subprocess, sys, time
from wmtp.orchestration import processes
work = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
mark = processes.TOKEN
send = lambda number: processes.send_below(work, mark, number)
import signal
processes.pause_with_terminal(lambda: send(signal.SIGSTOP), lambda: send(signal.SIGCONT), stop_self={stop_self})
processes.interrupt_on_sigterm()
print("ready", flush=True)
try:
    while True:  # a signal on the way into a sleep is handled after it
        time.sleep(0.2)
except KeyboardInterrupt:
    processes.kill_tree(work)
"""


@pytest.mark.parametrize("stop_self", [True, False])
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP])
def test_ctrl_z_stops_what_is_in_sessions_of_its_own_and_fg_lets_it_go_on(foreground, stop_self, end):
    job = start(JOB.replace("{stop_self}", str(stop_self)), **{processes.TOKEN: "test-of-ctrl-z"})
    shell = psutil.Process(job.pid)
    (work,) = shell.children()

    def states():
        return shell.status() == psutil.STATUS_STOPPED, work.status() == psutil.STATUS_STOPPED

    job.send_signal(signal.SIGTSTP)
    wait_for(lambda: states() == (stop_self, True), PATIENCE_S, "the stop")
    job.send_signal(signal.SIGCONT)
    wait_for(lambda: states() == (False, False), PATIENCE_S, "the start")
    job.send_signal(signal.SIGTSTP)
    wait_for(lambda: states() == (stop_self, True), PATIENCE_S, "the stop")
    for number in (end, signal.SIGTERM):  # a second one does not disturb the end
        job.send_signal(number)
    # and then, as a shell does for a job that is stopped
    job.send_signal(signal.SIGCONT)
    job.wait(timeout=PATIENCE_S)
    assert not is_running(work)


def test_a_child_of_a_stopped_parent_dies_with_it():
    parent = start(
        "import subprocess, sys, time; from wmtp.orchestration.processes import die_with_parent\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], preexec_fn=die_with_parent)\n"
        "print('ready', flush=True); time.sleep(600)"
    )
    (child,) = psutil.Process(parent.pid).children()
    parent.send_signal(signal.SIGSTOP)
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_running(child), PATIENCE_S, "the child's end")


def test_work_beside_a_block_has_its_context_and_ends_with_it():
    variable, seen = contextvars.ContextVar("variable"), []
    variable.set("the caller's")

    def work(done):
        seen.append((variable.get(), threading.current_thread().name, done.wait(PATIENCE_S)))

    with pytest.raises(KeyError), processes.beside(work, "aside"):
        raise KeyError
    assert seen == [("the caller's", "aside", True)]


ENDS_ITSELF = """
import sys, threading
from wmtp.orchestration import processes

processes.interrupt_on_sigterm()
print("waits", flush=True)
try:
    threading.Timer(0.2, processes.terminate_self).start()
    sys.stdin.read()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_a_thread_interrupts_what_the_main_one_waits_for():
    process = subprocess.Popen([sys.executable, "-c", ENDS_ITSELF], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:  # its standard input stays open
        assert process.stdout.read().splitlines() == ["waits", "interrupted"]
