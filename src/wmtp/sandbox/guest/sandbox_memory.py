"""How much memory a program's processes have, and who looks at it while nobody else can.

Runs inside the sandbox with nothing but the standard library. Whoever waits for a program looks itself; an examiner that works
does not wait, and may be in a loop of C's. So the process between the server and the spawner looks then, which has nothing
else to do (`Guard`).
"""

import contextlib
import fcntl
import os
import signal
import struct

TICK_S, MEMORY_TICK_S = 0.05, 0.01
"""Between two looks at a program, and at the memory of several processes, who can take a lot of it in a short time."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
NUMBER = struct.Struct("<q")


class Guard:
    """A file of two numbers that the server and the process beside it share, and no program: a limit, and what was over it."""

    def __init__(self, lowest: int) -> None:
        fd = os.memfd_create("guard", os.MFD_CLOEXEC)
        self.fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
        os.close(fd)
        self.begin(0)

    def begin(self, most: int) -> None:
        """From now on a program's processes may have so many bytes together; 0: there is nobody to look at."""
        os.pwrite(self.fd, NUMBER.pack(most) + NUMBER.pack(0), 0)

    def found(self) -> int:
        """Bytes that a program was ended for since `begin`; 0 where it was not."""
        found: int = NUMBER.unpack(os.pread(self.fd, NUMBER.size, NUMBER.size))[0]
        return found

    def close(self) -> None:
        os.close(self.fd)

    def look(self, own: set[str]) -> float:
        """End a program that has too much; seconds until the next look. `own`: pids that are no program's."""
        (most,) = NUMBER.unpack(os.pread(self.fd, NUMBER.size, 0))
        if not most:
            return TICK_S
        pids = [name for name in os.listdir("/proc") if name.isdigit() and name not in own]
        too_much = excess(pids, most)
        if too_much:
            os.pwrite(self.fd, NUMBER.pack(too_much), NUMBER.size)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        return MEMORY_TICK_S if len(pids) > 1 else TICK_S


def excess(pids: list[str], most: int) -> int:
    """Bytes that these processes have, if it is more than `most`, else 0.

    What several have together is what they have each, and their parts of what they share: with one another, as memory that
    was there when they were forked and as mappings, and with the spawner.
    """
    resident = [resident_bytes(pid) for pid in pids]
    if max(resident, default=0) > most:
        return max(resident)
    together = sum(map(proportional_bytes, pids)) if sum(resident) > most else 0
    return together if together > most else 0


def resident_bytes(pid: str) -> int:
    """Memory of a process, all that it shares with others included."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * PAGE_BYTES
    return 0


def peak_bytes(pid: str) -> int:
    """The most memory that a process has had at once (proc(5), VmHWM)."""
    return _told_bytes(pid, "status", "VmHWM:")


def proportional_bytes(pid: str) -> int:
    """Memory of a process, of each page its part (proc(5), Pss). It takes a while, so it is asked for only where it matters."""
    return _told_bytes(pid, "smaps_rollup", "Pss:")


def _told_bytes(pid: str, name: str, key: str) -> int:
    """A line of a process's file in /proc, which has kibibytes; 0 where it cannot be had."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/{name}") as file:
        for line in file:
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0
