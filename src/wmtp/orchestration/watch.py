"""Whether a stage still gets on, and what its processes are at where it does not.

Nothing is ended here: a stage may be quiet for good reasons, and one rank that waits for another gives up by itself
(`collective_timeout_s`). But long before that it is said, and everyone's stack is in the log.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from wmtp.files import write_text
from wmtp.orchestration import processes

STALL_LINE = re.compile(r"^(?P<stage>\S+): no progress for (?P<seconds>\d+) s")
"""The form of what is said; the flow shows it as the task's state."""

GOES_ON_LINE = re.compile(r"^\S+: gets on again$")

FIRST_NOTICE_FRACTION = 0.25
"""Of the time that ranks wait for each other."""
_REQUEST = "stacks-wanted"
"""File of a launch's folder that is touched when every machine shall ask its ranks."""
_POLL_SECONDS = 0.5
_ANSWER_SECONDS = 2.0
_SIGNAL = signal.SIGUSR2
_HINDERED = {
    psutil.STATUS_STOPPED: "stopped",
    psutil.STATUS_TRACING_STOP: "stopped by a debugger",
    psutil.STATUS_DISK_SLEEP: "waiting for a disk",
}


def show_stacks_on_request(folder: Path, rank: int) -> None:
    """Have this process write the stacks of all its threads to a file of `folder` whenever it is asked to.

    The handler is the interpreter's own, in C: it also answers for a process that is caught in a library.
    """
    file = (folder / f"starting-{rank}").open("w", encoding="utf-8")  # open for as long as the process lives
    faulthandler.register(_SIGNAL, file=file, all_threads=True)
    os.rename(file.name, folder / f"stacks-{rank}-{os.getpid()}")  # who has this file can be asked; the signal kills others


def ranks_of(folder: Path, token: str) -> dict[int, psutil.Process]:
    """The processes of a launch that live on this machine and can be asked, by rank; a stage of one process has rank 0."""
    found = {}
    for path in folder.glob("stacks-*-*"):
        _, rank, pid = path.name.split("-")
        try:
            process = psutil.Process(int(pid))
        except psutil.NoSuchProcess:
            continue
        if processes.token_of(process) == token:  # the pid is not another one's
            found[int(rank)] = process
    return found


def request_stacks(folder: Path, token: str) -> None:
    """Ask every rank on this machine."""
    for process in ranks_of(folder, token).values():
        processes.send(process, _SIGNAL)


def pass_requests_on(folder: Path, token: str) -> None:
    """For a node's agent, from a thread: ask the ranks of this machine whenever the launcher asks its own."""
    asked = _modified(folder / _REQUEST)
    while True:
        time.sleep(_POLL_SECONDS)
        if (now := _modified(folder / _REQUEST)) != asked:
            asked = now
            request_stacks(folder, token)


def ask_to_leave(folder: Path, token: str) -> None:
    """Pass notice on to every rank on this machine, also to those that are still starting. Returns at once."""

    def ask() -> None:
        while True:
            for process in ranks_of(folder, token).values():
                processes.send(process, signal.SIGUSR1)
            time.sleep(_POLL_SECONDS)

    threading.Thread(target=ask, daemon=True, name="ask-to-leave").start()


class Watch:
    """Watches one launch from a thread, as a context.

    Args:
        name: the stage; folder: of the launch; token: its mark; timeout_s: how long ranks wait for each other.
        progress: a file that the stage changes as it gets on.
        say: takes a line for a person; note: takes text for the log.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        token: str,
        timeout_s: float,
        *,
        progress: Path,
        say: Callable[[str], object],
        note: Callable[[str], object],
    ) -> None:
        self.name, self.folder, self.token, self.progress = name, folder, token, progress
        self._say, self._note = say, note
        self._first_s = timeout_s * FIRST_NOTICE_FRACTION
        self._since, self._changed, self._notice_s = time.monotonic(), 0, self._first_s
        self.states: dict[int, str] = {}
        self._read: dict[Path, int] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="watch-progress")

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def heard(self) -> None:
        """The stage has said something."""
        self._since = time.monotonic()

    def _run(self) -> None:
        while not self._done.wait(_POLL_SECONDS):
            changed = _modified(self.progress)
            if changed != self._changed:
                self._changed = changed
                self.heard()
            quiet_s = time.monotonic() - self._since
            if quiet_s < self._first_s and self._notice_s > self._first_s:
                self._say(f"{self.name}: gets on again")
                self._notice_s = self._first_s
                self.states.clear()
            elif quiet_s >= self._notice_s:
                self._notice_s *= 2
                self._tell(quiet_s)

    def _tell(self, quiet_s: float) -> None:
        ranks = ranks_of(self.folder, self.token)
        self.states |= {rank: state for rank, process in ranks.items() if (state := _hindrance(process))}
        hindered = "".join(f", rank {rank} is {state}" for rank, state in sorted(self.states.items()))
        self._say(f"{self.name}: no progress for {quiet_s:.0f} s{hindered}; every rank's stack is in the log")
        request_stacks(self.folder, self.token)
        write_text(self.folder / _REQUEST, "", durable=False)
        self._done.wait(_ANSWER_SECONDS)
        for path in sorted(self.folder.glob("stacks-*-*")):
            with path.open(encoding="utf-8", errors="replace") as file:
                file.seek(self._read.get(path, 0))
                text = file.read()
                self._read[path] = file.tell()
            rank = path.name.split("-")[1]
            self._note(f"--- rank {rank}, after {quiet_s:.0f} s without progress\n{text or 'no answer'}\n")


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _hindrance(process: psutil.Process) -> str:
    """What keeps a process from running, if something does."""
    try:
        return _HINDERED.get(process.status(), "")
    except psutil.NoSuchProcess:
        return "gone"
