"""The view of one candidate process: its output, its answers, its time, its memory and its end.

Runs inside the sandbox with nothing but the standard library.
"""

import _socket
import contextlib
import json
import os
import select
import signal
import struct
import time
from collections.abc import Iterator
from typing import Any

from sandbox_calls import MAX_MESSAGE_BYTES, pack
from sandbox_clock import Clock
from sandbox_memory import MEMORY_TICK_S, TICK_S, Guard, excess, peak_bytes
from sandbox_program import MEMORY_STATUS
from sandbox_spawner import MAX_ANSWER_BYTES, MAX_PROCESSES, ORDER, READY, STATUS, receive_fds, send_fds
from sandbox_values import NotAValueError

HOST = 0
"""What the host's messages come over: none does while a program runs, so there is something to read when the host is gone."""
FAILURES = ("compile_error", "wrong_answer", "runtime_error")


class Ended(BaseException):
    """The test is over before its end: `status` (empty for a program that ended by itself, with code 0), `detail`."""

    def __init__(self, status: str, detail: str = "") -> None:
        super().__init__(status, detail)
        self.status, self.detail = status, detail


def failure(message: Any) -> Ended:
    """What a program that failed says of itself."""
    status = message.get("status")
    return Ended(status if status in FAILURES else "runtime_error", str(message["failed"])[:500])


@contextlib.contextmanager
def _no_alarm() -> Iterator[None]:
    """The answer comes once: a test's time limit does not come between it and its being noted."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGALRM,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))


class Spawning:
    """The spawner, as those see it who give it orders. `own`: pids that are no program's; None without isolation."""

    def __init__(self, orders: _socket.socket, own: set[str] | None, guard: Guard) -> None:
        self.orders, self.own, self.process, self.peak_bytes = orders, own, -1, 0
        self.guard = guard
        answer = orders.recv(MAX_ANSWER_BYTES)
        if answer != READY:
            raise OSError(answer.decode() or "the spawner died")
        if own is not None:  # the spawner, as this namespace sees it
            own |= {name for name in os.listdir("/proc") if name.isdigit()}

    def start(self, fds: list[int], limits: dict, kind: int) -> None:
        """A new candidate: its stdin, stdout, channel and source are `fds`."""
        order = ORDER.pack(limits["memory_limit_bytes"], limits["time_limit_s"], kind)
        send_fds(self.orders, order, fds)
        answer, found = receive_fds(self.orders, MAX_ANSWER_BYTES, 1)
        if not answer or not found:
            raise OSError("the spawner died")
        self.process = found[0]

    def end(self) -> int:
        """The candidate's exit status, once it has ended and nothing is left of the program."""
        answer = self.orders.recv(MAX_ANSWER_BYTES)
        if len(answer) != STATUS.size:
            raise OSError("the spawner died")
        os.close(self.process)
        status: int
        status, self.peak_bytes = STATUS.unpack(answer)
        return status

    def pids(self) -> list[str]:
        """The program's processes; without isolation only the first of them is known to be its."""
        if self.own is None:
            with open(f"/proc/self/fdinfo/{self.process}") as file:
                return [line.split()[1] for line in file if line.startswith("Pid:")]
        return [name for name in os.listdir("/proc") if name.isdigit() and name not in self.own]

    def kill(self) -> None:
        """The candidate, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.process, signal.SIGKILL)
        self.end()


class Watch:
    """One candidate. Every wait drains its output and keeps its limits."""

    def __init__(self, spawning: Spawning, out_read: int, channel: int, limits: dict) -> None:
        self.spawning, self.out_read, self.channel, self.limits = spawning, out_read, channel, limits
        self.clock = Clock(limits, spawning.pids)
        self.output, self.said, self.unsent = bytearray(), bytearray(), memoryview(b"")
        self.ended = spawning.orders.fileno()
        self.open = [out_read, channel]
        self.exit_status: int | None = None
        self.next_check = self.next_look = time.monotonic() + TICK_S
        self.tick_s = TICK_S
        os.set_blocking(channel, False)

    def close(self) -> None:
        """Whatever still runs of it is ended."""
        if self.exit_status is None:
            self.spawning.kill()
        for fd in (self.out_read, self.channel):
            os.close(fd)

    def wait_for_end(self) -> Ended:
        """How it came to its end, or was brought to it."""
        try:
            while True:
                self._wait()
        except Ended as ended:
            return ended

    def exchange(self, message: Any) -> Any:
        """Send one message and wait for the answer.

        Raises:
            Ended: there is none.
            NotAValueError: it is no message.
        """
        self.unsent = memoryview(pack(message))
        self._send()
        while True:
            answer = self._take_message()
            if answer is not None:
                try:
                    parsed = json.loads(answer)
                except (ValueError, RecursionError) as error:
                    raise NotAValueError(f"no message: {error}") from error
                if isinstance(parsed, dict) and "failed" in parsed:
                    raise failure(parsed)
                return parsed
            self._wait()

    def _take_message(self) -> bytes | None:
        if len(self.said) < 4:
            return None
        (size,) = struct.unpack(">I", self.said[:4])
        if size > MAX_MESSAGE_BYTES:
            raise Ended("output_limit", f"an answer of {size:,} bytes")
        if len(self.said) < 4 + size:
            return None
        message = bytes(self.said[4 : 4 + size])
        del self.said[: 4 + size]
        return message

    def _wait(self) -> None:
        """Move bytes in all directions, once; raises when there is nothing more to come."""
        if self.exit_status is not None:
            self._raise_end()
        left = self.clock.left_s()
        if left <= 0:
            raise Ended("timeout")
        writing = [self.channel] if self.unsent and self.channel in self.open else []
        ready, writable, _ = select.select([*self.open, self.ended, HOST], writing, [], min(left, self.tick_s))
        if HOST in ready:
            os._exit(0)
        if writable:
            self._send()
        for fd in ready:
            if fd != self.ended:
                self._read(fd)
        if self.ended in ready:
            self._drain()
        elif time.monotonic() >= self.next_check:
            self._check_memory()
            if time.monotonic() >= self.next_look:
                self.clock.look()
                self.next_look = time.monotonic() + TICK_S
            self.next_check = time.monotonic() + self.tick_s

    def _drain(self) -> None:
        """The process has ended; then its children have too, and what is still in its pipes is read.

        Without isolation a daemon may have survived that holds the pipes open: then only what is there by now.
        """
        with _no_alarm():
            self.exit_status = self.spawning.end()
        patience_s = None if self.spawning.own is not None else 0.0
        while self.open and (ready := select.select(self.open, [], [], patience_s)[0]):
            for fd in ready:
                self._read(fd)

    def _read(self, fd: int) -> None:
        try:
            chunk = os.read(fd, 65536)
        except OSError:
            chunk = b""
        if not chunk:
            self.open.remove(fd)
        elif fd == self.channel:
            self.said += chunk
        else:
            self.output += chunk
        if len(self.output) > self.limits["output_limit_bytes"] or len(self.said) > MAX_MESSAGE_BYTES + 4:
            raise Ended("output_limit")

    def _send(self) -> None:
        try:
            self.unsent = self.unsent[os.write(self.channel, self.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.unsent = memoryview(b"")

    def _raise_end(self) -> None:
        said, status = self._take_message(), self.exit_status
        assert status is not None
        self._require_at_most(max(self.spawning.peak_bytes, self.spawning.guard.found()))
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            raise Ended("timeout" if number == signal.SIGXCPU else "runtime_error", f"killed by signal {number}")
        code = os.WEXITSTATUS(status)
        if code == MEMORY_STATUS:
            raise Ended("memory_limit")
        if code == 0:
            raise Ended("", "it ended before the end of the tests")
        if said is not None:
            with contextlib.suppress(ValueError, RecursionError, AttributeError, KeyError):
                raise failure(json.loads(said))
        raise Ended("runtime_error", f"exit code {code}")

    def require_memory(self) -> None:
        """What it had at any time: a program whose tests are over at once may have too much between two looks.

        Raises:
            Ended: more than it may.
        """
        self._require_at_most(max(map(peak_bytes, self.spawning.pids()), default=0))

    def _require_at_most(self, num_bytes: int) -> None:
        if num_bytes > self.limits["memory_limit_bytes"]:
            raise Ended("memory_limit", f"{num_bytes:,} bytes")

    def _check_memory(self) -> None:
        """Limits that no single process would reach, or that address space does not show."""
        pids = self.spawning.pids()
        self.tick_s = MEMORY_TICK_S if len(pids) > 1 else TICK_S
        if len(pids) > 2 * MAX_PROCESSES:
            raise Ended("runtime_error", f"more than {MAX_PROCESSES} processes")
        self._require_at_most(excess(pids, self.limits["memory_limit_bytes"]))
