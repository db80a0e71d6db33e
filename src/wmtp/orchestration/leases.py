"""Slots that several hosts share: leases in a folder on a file system that all of them see, kept by a heartbeat.

A slot's holders are numbered: `SLOT.GENERATION.holder` says who, is never changed, and comes to be by a hard link, which
succeeds for one of any number of contenders (also on NFS). The newest generation holds the slot until it is `.free`, or until
its `.beat`, a counter, has not moved for the lease's time by the clock of whoever looks: hosts' clocks are never compared.
Taking over is making the next generation, so it happens once.

What is assumed: one host's clock runs as fast as another's, and what is written is seen elsewhere within half a lease. A
holder that cannot beat, or whose successor is there, ends; so does each of its ranks by itself, after half a lease without a
beat: before anybody may take over. One that was frozen as a whole ends as soon as it moves again.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from wmtp.errors import LaunchError
from wmtp.files import SHARED_MODE, temporary_sibling
from wmtp.orchestration import processes

LEASE = "WMTP_LEASE"
"""Environment variable: what a rank must see beating, as JSON."""

BEATS = 12
"""In a lease's time."""
_KEPT = 256
"""Generations of a slot whose files stay: more than come and go while a host still sees an old listing of the folder."""
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_HOLDER = re.compile(r"(?P<slot>.+)\.(?P<generation>\d{8})\.holder")


def here() -> str:
    """This host, and the space of process numbers that this process lives in: containers share a host's boot."""
    boot = processes.identity().split(":")[1]
    try:
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        space = 0
    return f"{socket.gethostname()}/{boot}/{space}"


def _now() -> float:
    """Seconds that go on while a machine sleeps, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _LostError(Exception):
    """Another one holds the slot now."""


@dataclass(frozen=True)
class Lease:
    """One generation of a slot. `lease_s`: how long it lasts without a beat, in seconds."""

    folder: str
    slot: str
    generation: int
    lease_s: float

    def path(self, kind: str, later: int = 0) -> Path:
        return Path(self.folder) / f"{self.slot}.{self.generation + later:08d}.{kind}"

    def write(self, kind: str, text: str) -> None:
        with open(os.open(self.path(kind), os.O_WRONLY | os.O_CREAT, SHARED_MODE), "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), SHARED_MODE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def said(self, reason: str) -> str:
        return f"the lease of slot {self.slot} in {self.folder} {reason}; the next try waits for a slot again"

    def require_no_successor(self) -> None:
        successor = _read(self.path("holder", later=1))
        if successor is not None:
            raise _LostError(f"was taken over by {json.loads(successor)['host'].partition('/')[0]}")


def _read(path: Path) -> str | None:
    """None where there is no such file.

    Raises:
        OSError: it cannot be said.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


# --------------------------------------------------------------------------------------- getting one


@dataclass
class _Look:
    """What an observer has seen of the slots' holders: slot -> (generation, beat), and since when."""

    seen: dict[str, tuple[tuple[int, str | None], float]] = field(default_factory=dict)

    def is_free(self, lease: Lease) -> bool:
        """Whether the newest generation of a slot has ended."""
        if lease.generation == 0 or lease.path("free").exists():
            return True
        said = _read(lease.path("holder"))
        if said is None:  # others have gone on meanwhile
            return False
        holder, found = json.loads(said), (lease.generation, _read(lease.path("beat")))
        before, since = self.seen.get(lease.slot, (None, 0.0))
        if before != found:
            self.seen[lease.slot] = (found, _now())
            since = _now()
        is_dead_here = holder["host"] == here() and not processes.is_alive(holder["process"])
        return is_dead_here or _now() - since > lease.lease_s


def _newest(folder: Path, slot: str, lease_s: float) -> Lease:
    """The newest generation of a slot, 0 before the first; what is long past is removed."""
    found = [match for name in os.listdir(folder) if (match := _HOLDER.fullmatch(name)) and match["slot"] == slot]
    numbers = sorted(int(match["generation"]) for match in found)
    for number in numbers[:-_KEPT]:
        for kind in ("holder", "beat", "free"):
            Lease(str(folder), slot, number, lease_s).path(kind).unlink(missing_ok=True)
    return Lease(str(folder), slot, numbers[-1] if numbers else 0, lease_s)


def _claim(last: Lease, who: str) -> Lease | None:
    """The generation after `last`, unless another one was faster."""
    lease = Lease(last.folder, last.slot, last.generation + 1, last.lease_s)
    unique = temporary_sibling(lease.path("holder"), uuid.uuid4().hex)
    with open(os.open(unique, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SHARED_MODE), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), SHARED_MODE)
        json.dump({"host": here(), "process": processes.identity(), "who": who}, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(unique, lease.path("holder"))
    except FileExistsError:
        if unique.stat().st_nlink != 2:  # NFS repeats a request whose answer was lost: then the name is this one's
            return None
    finally:
        unique.unlink()
    lease.write("beat", _beat(0))
    return lease


def _beat(number: int) -> str:
    """Always as long, so that it is written over what was there."""
    return f"{number:020d}\n"


def waiting_for(what: str, holders: Iterable[str]) -> str:
    """The line for who waits: for what, and who has it, as far as that is known."""
    known = list(dict.fromkeys(who for who in holders if who))
    return f"waiting for {what}" + (f", held by {', '.join(known)}" if known else "")


def _holder(lease: Lease) -> str:
    said = _read(lease.path("holder"))
    return "" if said is None else str(json.loads(said).get("who", ""))


def _any_of(folder: Path, slots: Sequence[str], lease_s: float, what: str, who: str) -> Lease:
    look, told = _Look(), False
    while True:
        newest = {slot: _newest(folder, slot, lease_s) for slot in slots}
        for last in newest.values():
            lease = _claim(last, who) if look.is_free(last) else None
            if lease is not None:
                return lease
        if not told:
            print(waiting_for(what, map(_holder, newest.values())), flush=True)
            told = True
        time.sleep(min(0.5, lease_s / BEATS))


# --------------------------------------------------------------------------------------- keeping it


class _Fence:
    """Watches a lease from threads, one of which never touches the file system, where a call may hang for hours.

    Args:
        probe: raises `_LostError`; whether the lease was seen alive.
        lost: called once, with the reason.
    """

    def __init__(self, lease: Lease, probe: Callable[[], bool], lost: Callable[[str], object]) -> None:
        self._probe, self._lost, self._limit_s = probe, lost, lease.lease_s / 2
        self._interval_s = lease.lease_s / BEATS
        self._fresh, self._done = _now(), threading.Event()
        for work in (self._look, self._guard):
            threading.Thread(target=work, daemon=True, name=f"lease-{lease.slot}").start()

    def close(self) -> None:
        self._done.set()

    def _look(self) -> None:
        while not self._done.wait(self._interval_s):
            started = _now()
            try:
                if self._probe():
                    self._fresh = started
            except _LostError as reason:
                self._end(str(reason))
            except OSError:
                continue  # not seen; the guard counts

    def _guard(self) -> None:
        while not self._done.wait(min(0.2, self._interval_s / 2)):
            if _now() - self._fresh > self._limit_s:
                self._end(f"could not be kept for {_now() - self._fresh:.0f} s")

    def _end(self, reason: str) -> None:
        if not self._done.is_set():
            self._done.set()
            self._lost(reason)


@contextmanager
def held(folder: Path, slots: Sequence[str], lease_s: float, what: str, who: str = "") -> Iterator[dict[str, str]]:
    """Wait for one of the slots, and keep it while the block lasts.

    Args:
        folder: on a file system of all hosts; what: is waited for, for a person; who: takes it, for those who wait then.
    Yields:
        what ranks must find in their environment.
    Raises:
        LaunchError: the lease was lost (the process is told by SIGTERM, which must interrupt it), or cannot be had there.
    """
    reasons: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lease = _any_of(folder, slots, lease_s, what, who)
    except OSError as error:
        why = "it has no hard links" if error.errno in _NO_LINKS else error.strerror
        raise LaunchError(f"launch.lease={folder}: no lease can be had there: {why}") from None
    beats = iter(range(1, 10**18))

    def beat() -> bool:
        lease.require_no_successor()
        lease.write("beat", _beat(next(beats)))
        return True

    def lost(reason: str) -> None:
        reasons.append(reason)
        processes.terminate_self()

    fence = _Fence(lease, beat, lost)
    try:
        yield {LEASE: json.dumps(asdict(lease))}
    except KeyboardInterrupt:
        if not reasons:
            raise
        raise LaunchError(lease.said(reasons[0])) from None
    finally:
        fence.close()
        if not reasons:
            with suppress(OSError):  # others see that nothing beats any more
                lease.write("free", "")


def end_with_lease(environment: Mapping[str, str], end: Callable[[LaunchError], object]) -> None:
    """For a rank: have it end, from a thread, when the lease of its launcher is no longer kept, whatever the launcher does."""
    if LEASE not in environment:
        return
    lease = Lease(**json.loads(environment[LEASE]))
    last: list[str | None] = [None]

    def moves() -> bool:
        lease.require_no_successor()
        before, last[0] = last[0], _read(lease.path("beat"))
        return last[0] != before

    _Fence(lease, moves, lambda reason: end(LaunchError(lease.said(reason))))
