"""The view of one candidate process: its output, its answers, its time, its memory and its end.

Runs inside the sandbox with nothing but the standard library.
"""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

from sandbox_calls import MAX_MESSAGE_BYTES, pack
from sandbox_spawner import MAX_ORDER_BYTES, MAX_PROCESSES, MEMORY_STATUS
from sandbox_values import NotAValueError

TICK_S = 0.05
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Ended(BaseException):
    """The test is over before its end: `status` (empty for a program that ended by itself, with code 0), `detail`."""

    def __init__(self, status: str, detail: str = "") -> None:
        super().__init__(status, detail)
        self.status, self.detail = status, detail


def failure(message: Any) -> Ended:
    """What a program that failed says of itself."""
    return Ended("compile_error" if message.get("status") == "compile_error" else "runtime_error", str(message["failed"])[:500])


@contextlib.contextmanager
def _no_alarm() -> Iterator[None]:
    """An order and its answer belong together: a test's time limit does not come between them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGALRM,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))


class Spawning:
    """The spawner, as those see it who give it orders. `own`: pids that are no program's; None without isolation."""

    def __init__(self, orders: socket.socket, own: set[str] | None) -> None:
        self.orders, self.own, self.is_clean = orders, own, True
        ready = self._answer()
        if "error" in ready:
            raise OSError(ready["error"])
        if own is not None:  # the spawner, as this namespace sees it
            own |= {name for name in os.listdir("/proc") if name.isdigit()}

    def _answer(self) -> dict:
        answer: dict = json.loads(self.orders.recv(MAX_ORDER_BYTES) or b'{"error": "the spawner died"}')
        return answer

    def start(self, fds: list[int], limits: dict) -> int:
        """A descriptor of the new candidate's process: stdin, stdout, channel and source are `fds`."""
        self.is_clean = False
        with _no_alarm():
            socket.send_fds(self.orders, [json.dumps({"start": limits}).encode()], fds)
            data, found, _, _ = socket.recv_fds(self.orders, MAX_ORDER_BYTES, 1)
        if not data or not found:
            raise OSError("the spawner died")
        return found[0]

    def end(self) -> int | None:
        """End all that is left of the program: the candidate's exit status, None if it still ran."""
        with _no_alarm():
            self.orders.send(b'{"end": true}')
            answer = self._answer()
        if "error" in answer:
            raise OSError(answer["error"])
        self.is_clean = True
        status: int | None = answer["status"]
        return status


class Watch:
    """One candidate. Every wait drains its output and keeps its limits."""

    def __init__(self, spawning: Spawning, ended: int, out_read: int, channel: int, limits: dict, deadline: float) -> None:
        self.spawning, self.ended, self.out_read, self.channel = spawning, ended, out_read, channel
        self.limits, self.deadline = limits, deadline
        self.output, self.said, self.unsent = bytearray(), bytearray(), memoryview(b"")
        self.open = [out_read, channel]
        self.exit_status: int | None = None
        os.set_blocking(channel, False)

    def close(self) -> None:
        """Whatever still runs of it is ended."""
        if self.exit_status is None:
            self.spawning.end()
        for fd in (self.ended, self.out_read, self.channel):
            os.close(fd)

    def wait_for_end(self) -> Ended:
        """How it came to its end, or was brought to it."""
        try:
            while True:
                self._wait()
        except Ended as ended:
            return ended

    def exchange(self, message: dict) -> Any:
        """Send one message and wait for the answer.

        Raises:
            Ended: there is none.
            NotAValueError: it is no message.
        """
        self.unsent = memoryview(pack(message))
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
        if self._poll_end():
            return
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Ended("timeout")
        writing = [self.channel] if self.unsent and self.channel in self.open else []
        ready, writable, _ = select.select([*self.open, self.ended], writing, [], min(left, TICK_S))
        if writable:
            self._send()
        for fd in ready:
            if fd != self.ended:
                self._read(fd)
        if not ready and not writable:
            self._check_totals()

    def _poll_end(self) -> bool:
        """Whether the process has ended; then its children are too, and what is still in its pipes is read.

        Without isolation a daemon may have survived that holds the pipes open: then only what is there by now.
        """
        if not select.select([self.ended], [], [], 0)[0]:
            return False
        self.exit_status = self.spawning.end() or 0
        patience_s = None if self.spawning.own is not None else 0.0
        while self.open and (ready := select.select(self.open, [], [], patience_s)[0]):
            for fd in ready:
                self._read(fd)
        return True

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

    def _check_totals(self) -> None:
        """Limits of the whole process tree, where it has a namespace of its own."""
        if self.spawning.own is None:
            return
        pids = [name for name in os.listdir("/proc") if name.isdigit() and name not in self.spawning.own]
        if len(pids) > 2 * MAX_PROCESSES:
            raise Ended("runtime_error", f"more than {MAX_PROCESSES} processes")
        if len(pids) > 1 and sum(map(own_bytes, pids)) > 2 * self.limits["memory_limit_bytes"]:
            raise Ended("memory_limit", "all its processes together")


def own_bytes(pid: str) -> int:
    """Memory of a process that is no file's."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/statm") as file:
        _, resident, shared = file.read().split()[:3]
        return (int(resident) - int(shared)) * PAGE_BYTES
    return 0
