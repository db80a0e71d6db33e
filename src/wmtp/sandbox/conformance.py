"""What any isolation must do, as small programs of which each must get its verdict. `wmtp doctor` runs them all.

The idea is inspect_ai's sandbox self-check. A probe never harms a machine on which it fails: it asks whether something could be
done, or does it to what `_Host` made for it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wmtp.sandbox.isolation import isolation
from wmtp.sandbox.worker import StalledError, Worker
from wmtp.types import AssertTest, IOTest, Limits, Program, Test, Verdict, VerdictStatus

LIMITS = Limits(time_limit_s=2.0, memory_limit_bytes=256 * 2**20, output_limit_bytes=2**16)
SHORT = Limits(time_limit_s=0.5, memory_limit_bytes=256 * 2**20, output_limit_bytes=2**16)
SMALL = Limits(time_limit_s=2.0, memory_limit_bytes=64 * 2**20, output_limit_bytes=2**16)
FIVE = (IOTest("2 3\n", "5\n"),)
SQUARE = (AssertTest("assert f(2) == 4\nassert f(3) == 9"),)
INPUT = "\ufeff\u00e4\u2003\r\n\0" * 50_000
LINES = "".join(f"{n}\n" for n in range(9000))


@dataclass(frozen=True)
class Probe:
    """`line`: what must hold. `before`: a program that runs first, in the same sandbox."""

    name: str
    line: str
    source: str
    tests: tuple[Test, ...] = FIVE
    statuses: tuple[VerdictStatus, ...] = ("passed",)
    limits: Limits = LIMITS
    before: str = ""


@dataclass(frozen=True)
class Failure:
    """A probe that did not get its verdict; `saw` is what it got."""

    probe: Probe
    saw: str


def _tried(lines: str) -> str:
    """A program that prints 5 where every line of `lines` is refused, and the first that is not."""
    return (
        "import ctypes, os, resource, socket\nlibc = ctypes.CDLL(None, use_errno=True)\nfound = 5\n"
        f"for line in {lines.splitlines()!r}:\n"
        "    try: found = line if eval(line) != -1 else found\n    except OSError: pass\nprint(found)"
    )


PROBES = (
    Probe("right program", "a right program passes", "print(sum(map(int, input().split())))"),
    Probe("wrong program", "a wrong program does not pass", "print(4)", statuses=("wrong_answer",)),
    Probe("failing program", "an exception is a failure", "print(5)\n1 / 0", statuses=("runtime_error",)),
    Probe(
        "standard input",
        "a program reads its input, to the last byte",
        "import os, zlib\ndata = b''\nwhile part := os.read(0, 10**6): data += part\nprint(len(data), zlib.crc32(data))",
        (IOTest(INPUT, f"{len(INPUT.encode())} {zlib.crc32(INPUT.encode())}"),),
    ),
    Probe(
        "standard output", "all that a program prints arrives, in order", "for n in range(9000): print(n)", (IOTest("", LINES),)
    ),
    Probe("right function", "a right function passes its asserts", "def f(x): return x * x", SQUARE),
    Probe("wrong function", "a wrong function does not", "def f(x): return x", SQUARE, ("wrong_answer",)),
    Probe("early end", "leaving with code 0 is no pass", "import os\nos._exit(0)", SQUARE, ("wrong_answer",)),
    Probe(
        "equal to everything",
        "an object that equals everything is no pass",
        "class E:\n    def __eq__(self, other): return True\ndef f(x): return E()",
        SQUARE,
        ("wrong_answer", "suspicious"),
    ),
    Probe(
        "files",
        "a program sees none of this machine's files",
        "import os\nprint([p for p in ('@CANARY@', '/etc/passwd', '/proc/1/root/etc/passwd') if os.access(p, os.R_OK)] or 5)",
    ),
    Probe(
        "writing",
        "a program cannot write outside of /tmp",
        "import os\n"
        "folders = ['/', '/usr', '/usr/lib', '/dev', '/proc', '/etc', '/wmtp', os.path.dirname(os.__file__), '@FOLDER@']\n"
        "print([p for p in folders if os.access(p, os.W_OK)] or 5)",
    ),
    Probe(
        "mounts",
        "all that is mounted is read-only but its own folders",
        "found = []\nfor line in open('/proc/self/mountinfo'):\n"
        "    place, options = line.split()[4:6]\n"
        "    wanted = ['nosuid'] + ['ro'] * (place not in ('/tmp', '/dev/shm', '/program'))\n"
        "    wanted += ['nodev'] * (not place.startswith('/dev/'))\n"
        "    found += [] if {*wanted} <= {*options.split(',')} else [place]\nprint(found or 5)",
    ),
    Probe(
        "processes",
        "a program sees no process but its own and the one that started it",
        "import os\nprint(5 if sum(p.isdigit() for p in os.listdir('/proc')) <= 2 else 0)",
    ),
    Probe("signals", "a program cannot signal a process of this machine's", _tried("os.kill(@PID@, 0)")),
    Probe(
        "network",
        "a program has no network",
        _tried("socket.create_connection(('127.0.0.1', @PORT@), 0.2)\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)"),
    ),
    Probe(
        "sockets",
        "a program cannot reach an abstract or a named socket of this machine's",
        _tried("socket.socket(socket.AF_UNIX).connect('\\0@NAME@')\nsocket.socket(socket.AF_UNIX).connect('@FOLDER@/socket')"),
    ),
    Probe(
        "environment",
        "a program's environment says nothing of this machine's",
        "import os\nown = {'PATH', 'LANG', 'HOME', 'PYTHONHASHSEED'}\n"
        "print(sorted(name for name in os.environ if name not in own and not name.endswith('_NUM_THREADS')) or 5)",
    ),
    Probe(
        "privileges",
        "a program has no capability and can get none",
        "lines = [line.split() for line in open('/proc/self/status')]\n"
        "caps = [name for name, value, *_ in (l for l in lines if len(l) > 1) if name.startswith('Cap') and int(value, 16)]\n"
        "print(caps or (5 if ['NoNewPrivs:', '1'] in lines else lines))",
    ),
    Probe(
        "system calls",
        "calls that reach into the kernel are refused",
        _tried("libc.personality(0xffffffff)\nlibc.memfd_create(b'x', 0)\nlibc.unshare(0x10000000)"),
    ),
    Probe(
        "limits of others",
        "a program cannot change the limits, priority or cores of another process",
        _tried(
            "resource.prlimit(os.getppid(), resource.RLIMIT_AS)\nos.setpriority(os.PRIO_PROCESS, os.getppid(), 1)\n"
            "os.setpriority(os.PRIO_USER, 0, 1)\nos.sched_setaffinity(os.getppid(), os.sched_getaffinity(0))"
        ),
    ),
    Probe("time, working", "a loop ends at the time limit", "while True: pass", statuses=("timeout",), limits=SHORT),
    Probe("time, sleeping", "so does a sleep", "import time\ntime.sleep(60)", statuses=("timeout",), limits=SHORT),
    Probe(
        "time, in the test",
        "and what a test does with a program's values",
        "def f(x): return range(10**15)",
        (AssertTest("assert sum(f(2)) == 4"),),
        ("timeout",),
        SHORT,
    ),
    Probe(
        "memory",
        "memory is limited",
        "kept = []\nwhile len(kept) < 150: kept.append(b'x' * 2**20)\nprint(5)",
        statuses=("memory_limit",),
        limits=SMALL,
    ),
    Probe(
        "memory of children",
        "so is that of all its processes together",
        "import os, time\nread, write = os.pipe()\nfor _ in range(6):\n    if os.fork() == 0:\n"
        "        kept = b'x' * (40 * 2**20)\n        os.write(write, b'x')\n        time.sleep(60)\n"
        "for _ in range(6): os.read(read, 1)\ntime.sleep(0.3)\nprint(5)",
        statuses=("memory_limit",),
        limits=SMALL,
    ),
    Probe(
        "memory that is shared",
        "and memory that they share, also while the first of them prints",
        "import mmap, os, time\nif os.fork() == 0:\n    for _ in range(3):\n        if os.fork() == 0:\n"
        "            kept = mmap.mmap(-1, 30 * 2**20)\n            for at in range(0, len(kept), 4096): kept[at] = 1\n"
        "            time.sleep(60)\n    os.wait()\nfor n in range(10**9): print(n % 10, end='', flush=True)",
        statuses=("memory_limit",),
        limits=Limits(time_limit_s=3.0, memory_limit_bytes=64 * 2**20, output_limit_bytes=2**30),
    ),
    Probe(
        "forks of much memory",
        "what processes share is counted once",
        "import os, time\nkept = b'x' * (30 * 2**20)\nread, write = os.pipe()\nfor _ in range(4):\n    if os.fork() == 0:\n"
        "        time.sleep(0.2)\n        os._exit(0)\nfor _ in range(4): os.wait()\nprint(5)",
        limits=SMALL,
    ),
    Probe("output", "output is limited", "while True: print('x' * 1000)", statuses=("output_limit",)),
    Probe(
        "disk",
        "so are the files that it writes",
        "for n in range(80):\n    with open(f'{n}', 'wb') as file: file.write(bytes(2**20))\nprint(5)",
        statuses=("runtime_error",),
    ),
    Probe(
        "number of processes",
        "so is the number of its processes",
        "import os, time\nn = 0\n"
        "try:\n    while n < 99:\n        if os.fork() == 0: time.sleep(1); os._exit(0)\n        n += 1\n"
        "except OSError: pass\nprint(5 if n < 64 else n)",
    ),
    Probe(
        "leftovers",
        "nothing of a program outlives it: no process, no file, no shared memory",
        "import os\nfound = [n for n in os.listdir('/dev/shm') + os.listdir() if n.startswith('@NAME@')]\n"
        "for p in (p for p in os.listdir('/proc') if p.isdigit()):\n"
        "    try: found += [p] if open(f'/proc/{p}/comm').read() == '@NAME@\\n' else []\n    except OSError: pass\n"
        "print(found or 5)",
        before="import ctypes, os, time\nopen('@NAME@', 'w').close()\nopen('/dev/shm/@NAME@', 'w').close()\n"
        "if os.fork() == 0:\n    os.setsid()\n    ctypes.CDLL(None).prctl(15, b'@NAME@')\n"
        "    for fd in range(9): os.close(fd) if fd < 5 else None\n    time.sleep(3)\n    os._exit(0)\n"
        "time.sleep(0.2)\nprint(5)",
    ),
)


class _Host:
    """What programs must not see, reach or change: a file, a process and sockets of this machine's."""

    def __init__(self, folder: Path, child: subprocess.Popen[bytes]) -> None:
        self.folder, self.child = folder, child
        self.name = f"wmtp-{os.getpid()}"
        (folder / "canary").write_text("seen")
        folder.chmod(0o777)
        self.sockets = [socket.socket(), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
        addresses: tuple[tuple[str, int] | str, ...] = (("127.0.0.1", 0), f"\0{self.name}", str(folder / "socket"))
        for one, address in zip(self.sockets, addresses, strict=True):
            one.bind(address)
            one.listen()

    def fill_in(self, text: str) -> str:
        """`text`, with this machine's names in it."""
        for name, value in {
            "@CANARY@": str(self.folder / "canary"),
            "@FOLDER@": str(self.folder),
            "@NAME@": self.name,
            "@PID@": str(self.child.pid),
            "@PORT@": str(self.sockets[0].getsockname()[1]),
        }.items():
            text = text.replace(name, value)
        return text

    def close(self) -> None:
        for one in self.sockets:
            one.close()
        Path("/dev/shm", self.name).unlink(missing_ok=True)  # where the isolation is none
        self.child.kill()
        self.child.wait()


@contextmanager
def _host() -> Iterator[_Host]:
    with tempfile.TemporaryDirectory(prefix="wmtp-conformance-") as folder:
        host = _Host(Path(folder), subprocess.Popen(["sleep", "600"]))
        try:
            yield host
        finally:
            host.close()


def failures(mode: str | None = None, probes: Sequence[Probe] = PROBES) -> list[Failure]:
    """The probes that do not hold under this kind of isolation (null: the one that is used here).

    Raises:
        EvaluationError: there is none.
    """
    mode = isolation() if mode is None else mode
    found = []
    with _host() as host:
        worker = Worker(mode)
        try:
            for probe in probes:
                verdict = _run(worker, probe, host)
                if verdict.status not in probe.statuses:
                    saw = f"{verdict.status} instead of {' or '.join(probe.statuses)}"
                    found.append(Failure(probe, f"{saw}: {verdict.detail}" if verdict.detail else saw))
        finally:
            worker.close()
    return found


def _run(worker: Worker, probe: Probe, host: _Host) -> Verdict:
    try:
        for source in filter(None, (probe.before, probe.source)):
            verdict = worker.run(Program(host.fill_in(source), probe.tests, probe.limits))
        return verdict
    except (OSError, StalledError) as error:
        worker.close(wait_s=0)
        return Verdict("sandbox_error", len(probe.tests), 0, detail=str(error) or "it stalled")
