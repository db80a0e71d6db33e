"""How much of its time a program has used, on a machine that has other things to do as well.

Runs inside the sandbox with nothing but the standard library. A program is charged for the time that it works or sleeps, not
for the time that it waits for a core: Linux counts that for every thread (`/proc/PID/schedstat`, run_delay). So a verdict does
not depend on what else runs. Whatever a program does, it is charged for the processor time of all its processes, and it ends
at a multiple of its limit by the clock on the wall.
"""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SHORTEST_S = 0.005
OWN = "self"
LIBC = ctypes.CDLL(None, use_errno=True)
GRACE_S = 0.25
"""Of processor time beyond the limit, for the interpreter to see that the time is up."""


class Clock:
    """The time of one program, from now on. `pids`: its processes, as long as it has some."""

    def __init__(self, limits: dict, pids: Callable[[], list[str]]) -> None:
        self.limit_s, self.wall_limit_s = limits["time_limit_s"], limits["wall_limit_s"]
        self.pids = pids
        self.own_before = task_times(OWN)[1]
        self.began = self.looked = time.monotonic()
        self.deadline = self.began + self.limit_s
        """Before this it cannot have used its time."""
        self.worked = self.lost = 0.0
        self.waits: dict[str, float] = {}
        self.ready: set[str] = set()
        self.counts: tuple[float, float] | None = None
        """Work and waits when the time seemed to be up for a program that is ready to work."""

    def left_s(self) -> float:
        """How long it can go on in any case; 0 when its time is up."""
        now = time.monotonic()
        if now >= self.deadline and now - self.began < self.wall_limit_s:
            left = self.limit_s - self._used_s()
            self.deadline = now + max(left, SHORTEST_S) if left > 0 else now
        return max(0.0, self.deadline - now)

    def look(self) -> float:
        """Note what its threads have waited, before they have ended: to be called now and then. Seconds they have worked."""
        pids, before, worked = self.pids(), self.looked, self.worked
        times = {task: task_times(task) for pid in pids for task in tasks(pid)}
        self.looked, self.worked = time.monotonic(), max(worked, sum(map(processor_s, pids)))
        if not self.ready <= times.keys():  # what it did after the last look, it did not do asleep
            self.lost += max(0.0, self.looked - before - (self.worked - worked))
        self.waits.update((task, wait) for task, (_, wait, _) in times.items())
        self.ready = {task for task, (_, _, is_ready) in times.items() if is_ready}
        return sum(work for work, _, _ in times.values())

    def _used_s(self) -> float:
        """Of its time. The kernel counts a wait when it has ended, so there is a judgement only after a count has changed."""
        counted = self.look()
        waited = sum(self.waits.values()) + self.lost + task_times(OWN)[1] - self.own_before  # the last: the examiner's
        used = max(self.looked - self.began - waited, self.worked)
        if self.worked < self.limit_s <= used and self.ready and self.counts in (None, (counted, waited)):
            self.counts = (counted, waited)
            return self.limit_s - SHORTEST_S
        self.counts = None
        return used


@contextlib.contextmanager
def alarm(clock: Clock, error: Callable[[], BaseException]) -> Iterator[None]:
    """Raise `error()` in what runs here when the time is up.

    The interpreter looks at signals between its own steps only. What does not come back from C (the sum of a range that a
    program hands in) ends with this process, by a signal that nothing of the interpreter's is asked about: see `die_of`.
    """

    def wake_at_end(*_: object) -> None:
        left = clock.left_s()
        if left <= 0:
            raise error()
        signal.setitimer(signal.ITIMER_REAL, left)

    signal.signal(signal.SIGALRM, wake_at_end)
    try:
        wake_at_end()
        signal.setitimer(signal.ITIMER_PROF, max(0.0, clock.left_s()) + GRACE_S)
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def die_of(number: int) -> None:
    """This process ends with the signal's number as its exit code: the C library's own `_exit` is the handler."""
    LIBC.signal.argtypes, LIBC.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    LIBC.signal(number, ctypes.cast(LIBC._exit, ctypes.c_void_p))


def tasks(pid: str) -> list[str]:
    """Of a process, by their place in /proc."""
    with contextlib.suppress(OSError):
        return [f"{pid}/task/{task}" for task in os.listdir(f"/proc/{pid}/task")]
    return []


def task_times(task: str) -> tuple[float, float, bool]:
    """Seconds that a thread has worked, and that it was ready to but had no core (0 where nobody counts); is it ready now?"""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{task}/schedstat") as file:
            work, wait = map(int, file.read().split()[:2])
        with open(f"/proc/{task}/stat") as file:
            return work / 1e9, wait / 1e9, file.read().rpartition(")")[2].split()[0] == "R"
    return 0.0, 0.0, False


def processor_s(pid: str) -> float:
    """Seconds of processor time of a process and of those that it has waited for."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat") as file:
        return sum(map(int, file.read().rpartition(")")[2].split()[11:15])) / TICKS_PER_S
    return 0.0
