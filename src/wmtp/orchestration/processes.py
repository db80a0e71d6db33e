"""Process trees: who owns whom, who is still alive, and how all of them end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import psutil

POLL_SECONDS = 0.3
GRACE_SECONDS = 5.0
TOKEN = "WMTP_LAUNCH_TOKEN"
"""Environment variable that marks every process of one launch, wherever in the process table it ends up."""

_SHELLS = ("sh", "bash", "dash", "zsh", "fish", "ksh")
_PR_SET_PDEATHSIG = 1


def identity(pid: int | None = None) -> str:
    """A process as text, `pid:start`: a pid that was given to another process later does not match."""
    process = psutil.Process(pid)
    return f"{process.pid}:{process.create_time()}"


def is_alive(who: str) -> bool:
    """False when the process is gone, is a zombie, or its pid belongs to another one now."""
    pid, _, start = who.partition(":")
    try:
        process = psutil.Process(int(pid))
        return abs(process.create_time() - float(start)) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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


def interrupt_on_sigterm() -> Any:
    """SIGTERM ends this process as Ctrl-C does, so that everything is cleaned up. Returns the handler before."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    return signal.signal(signal.SIGTERM, interrupt)


def end_with(owners: Iterable[str]) -> None:
    """Have this process get SIGTERM when any owner dies."""
    on_death(owners, lambda: os.kill(os.getpid(), signal.SIGTERM))


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere `on_death` alone does it)."""
    import ctypes

    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return


def kill_tree(pid: int, token: str | None = None, grace_s: float = GRACE_SECONDS, head: int = signal.SIGTERM) -> None:
    """SIGTERM, then SIGKILL, for a process, everything below it, and everything that carries `token`.

    `head`: what the process itself gets instead of SIGTERM.
    """
    found = _descendants(pid) | _marked(token)
    for process in found:
        _signal(process, head if process.pid == pid else signal.SIGTERM)
    psutil.wait_procs(list(found), timeout=grace_s)
    # What is left, and what was started meanwhile.
    left = {process for process in found if process.is_running()} | _descendants(pid) | _marked(token)
    for process in left:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(list(left), timeout=grace_s)


def _descendants(pid: int) -> set[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return {parent, *parent.children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def _marked(token: str | None) -> set[psutil.Process]:
    if token is None:
        return set()
    return {process for process in psutil.process_iter() if process.pid != os.getpid() and _token(process) == token}


def _token(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(TOKEN)
    except (psutil.Error, OSError):
        return None


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
