"""Process trees: who owns whom, who is still alive, and how all of them end."""

from __future__ import annotations

import contextvars
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

POLL_SECONDS = 0.3
GRACE_SECONDS = 5.0
_ENDING_POLL_SECONDS = 0.02
OWNER = "WMTP_OWNER"
"""Environment variable: the process (see `identity`) with which this one ends: the flow, or the command that started it."""

TOKEN = "WMTP_LAUNCH_TOKEN"
"""Environment variable that marks every process of one launch, wherever in the process table it ends up."""

_SHELLS = ("sh", "bash", "dash", "zsh", "fish", "ksh")
_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


_PROC = Path("/proc")
_STATE, _START_TICKS = 0, 19
"""Places in `/proc/PID/stat` after the command's name: fields 3 and 22 of proc(5)."""
_ENDED = ("Z", "X")


def identity(pid: int | None = None) -> str:
    """A process as text, `pid:boot:start`: a pid that was given to another process later does not match.

    The start is in the kernel's ticks since that boot, which no change of the clock moves.

    Raises:
        ProcessLookupError: there is no such process.
    """
    number = os.getpid() if pid is None else pid
    found = _started(number)
    if found is None:
        raise ProcessLookupError(f"no process {number}")
    return f"{number}:{found}"


def is_alive(who: str) -> bool:
    """False when the process is gone, is a zombie, or its pid belongs to another one now."""
    pid, _, start = who.partition(":")
    return _started(int(pid)) == start


def _started(pid: int) -> str | None:
    """When a live process started, as text; None when there is none."""
    if not _PROC.is_dir():  # no Linux
        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
        except psutil.NoSuchProcess:
            return None
    try:
        fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None if fields[_STATE] in _ENDED else f"{boot}:{fields[_START_TICKS]}"


def caller() -> str | None:
    """The nearest ancestor that is no shell."""
    process = psutil.Process().parent()
    while process is not None and process.name() in _SHELLS:
        process = process.parent()
    return identity(process.pid) if process is not None else None


def on_death(owners: Iterable[str], act: Callable[[], None]) -> None:
    """Call `act` once, from a thread, within a second of the death of any owner."""
    watched = tuple(owners)
    if not watched:
        return

    def watch() -> None:
        while all(is_alive(owner) for owner in watched):
            time.sleep(POLL_SECONDS)
        act()

    threading.Thread(target=watch, daemon=True, name="watch-owner").start()


def terminate_self() -> None:
    """SIGTERM from any thread to this process's main thread, which Python's handlers run in.

    A signal that is sent to the process may be given to another thread, and what the main one waits for is not interrupted.
    """
    main = threading.main_thread().ident
    assert main is not None, "it runs"
    signal.pthread_kill(main, signal.SIGTERM)


def interrupt_on_sigterm() -> dict[int, Any]:
    """SIGTERM and a closed terminal end this process as Ctrl-C does, so that everything is cleaned up.

    Only the first one is heard: a scheduler, DVC and the flow may all send one, and none shall disturb the cleaning. A SIGHUP
    that is ignored (nohup) stays so. Returns the handlers before.
    """
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]

    def interrupt(number: int, frame: Any) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    return {number: signal.signal(number, interrupt) for number in numbers}


def pause_with_terminal(pause: Callable[[], object], go_on: Callable[[], object], *, stop_self: bool = True) -> None:
    """Ctrl-Z stops what this process started, which is in process groups of its own, and `fg` lets it go on.

    Args:
        pause: stops the others; those that watch over owners must go on, so that a kill is still seen.
        stop_self: stop this process too, as a shell expects of its job.
    """

    def stop(number: int, frame: Any) -> None:
        pause()
        if stop_self:
            os.kill(os.getpid(), signal.SIGSTOP)
            go_on()

    signal.signal(signal.SIGTSTP, stop)
    if not stop_self:
        signal.signal(signal.SIGCONT, lambda number, frame: go_on())


def send_marked(token: str, number: int) -> None:
    """A signal for every process of a launch."""
    for process in _marked(token):
        send(process, number)


def send_below(process: subprocess.Popen[Any], variable: str, number: int) -> None:
    """A signal for what was started below a child with this environment variable."""
    for one in _tree(process):
        if _has(one, variable):
            send(one, number)


def _has(process: psutil.Process, variable: str) -> bool:
    try:
        return variable in process.environ()
    except (psutil.Error, OSError):
        return False


def end_with(owners: Iterable[str]) -> None:
    """Have this process get SIGTERM when any owner dies."""
    on_death(owners, terminate_self)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere `on_death` alone does it).

    Safe between fork and exec: everything that it needs is loaded. The parent is the thread that forked.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start_below() -> None:
    """For a stage's process between fork and exec: what every one of them needs."""
    die_with_parent()
    ignore_notice()


def ignore_notice() -> None:
    """Between fork and exec: SIGUSR1 is for launchers and ranks, which handle it.

    A scheduler may send it to everything in a job, and torchrun, DVC and a shell would die of it.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def kill_tree(
    process: subprocess.Popen[Any], token: str | None = None, grace_s: float = GRACE_SECONDS, head: int = signal.SIGTERM
) -> int:
    """SIGTERM, then SIGKILL, for a child, everything below it, and everything that carries `token`.

    Nobody but `process` waits for its child: whoever else did would take the exit code from it, and it would report 0.

    Args:
        head: what the child itself gets instead of SIGTERM.
    Returns:
        the child's exit code.
    """
    found = _tree(process) | _marked(token)
    for one in found:
        send(one, head if one.pid == process.pid else signal.SIGTERM)
        send(one, signal.SIGCONT)  # one that was stopped hears of it too
    _wait_until_ended(found, grace_s)
    # What is left, and what was started meanwhile.
    left = {one for one in found if _is_live(one)} | _tree(process) | _marked(token)
    for one in left:
        send(one, signal.SIGKILL)
    _wait_until_ended(left, grace_s)
    return process.wait()


def _tree(process: subprocess.Popen[Any]) -> set[psutil.Process]:
    """None once the child has been waited for: its pid may be another's by now."""
    return set() if process.poll() is not None else _descendants(process.pid)


def _wait_until_ended(found: Iterable[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(map(_is_live, found)) and time.monotonic() < deadline:
        time.sleep(_ENDING_POLL_SECONDS)


def _is_live(process: psutil.Process) -> bool:
    """A child that has ended and was not yet waited for is not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _descendants(pid: int) -> set[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return {parent, *parent.children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def _marked(token: str | None) -> set[psutil.Process]:
    if token is None:
        return set()
    others = (process for process in psutil.process_iter() if process.pid != os.getpid())
    return {process for process in others if token_of(process) == token and _is_live(process)}


def token_of(process: psutil.Process) -> str | None:
    """The mark of the launch that a process belongs to."""
    try:
        return process.environ().get(TOKEN)
    except (psutil.Error, OSError):
        return None


def send(process: psutil.Process, number: int) -> None:
    """A signal, if the process still lives."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


@contextmanager
def beside(work: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Do `work` in a thread of that name, in the caller's context, while the block lasts: the event says that it has ended."""
    done, context = threading.Event(), contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work, done), daemon=True, name=name)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
