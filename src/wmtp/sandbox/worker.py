"""One warm interpreter in its sandbox, and what is said to it over two pipes (see `guest/sandbox_server.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import IO, Any, Literal

import psutil

from wmtp.errors import EvaluationError
from wmtp.sandbox.checker import same_output
from wmtp.sandbox.namespaces import command, two_users
from wmtp.sandbox.own_checker import (
    CHECKER_LIMITS,
    COMPILED_SCRIPT,
    BrokenCheckerError,
    Opinion,
    files_of,
    files_of_compiled,
    opinion_of_compiled,
    opinion_of_script,
    script_of,
)
from wmtp.sandbox.packages import Package
from wmtp.types import AssertTest, Checker, IOTest, Limits, Program, Verdict, VerdictStatus

STALLED_S = 60.0
"""Beyond a program's own limit; a busy machine may be slow, a program that could hold the runner up is stopped all the same."""
WALL_FACTOR = 20
"""A program that waits for a core most of the time still ends, at this multiple of its limit (and a minute)."""
MAX_SOURCE_BYTES = 2**20
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
"""Numerical libraries start as many threads as there are cores, whoever imports them."""
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", **ONE_THREAD}
RETRIES = 2


class StalledError(Exception):
    """The sandbox does not answer any more."""


class Worker:
    """One warm interpreter, restarted when it dies.

    Args:
        mode: the kind of isolation.
        packages: what programs and tests can import beside the standard library.
        time_factor: for the time limit of problems' own checkers; programs bring theirs.
        compiled: a checker in C++ -> its program, or a BrokenCheckerError (`testlib.Checkers`).
        machine: whole folders of the machine's that the sandbox has, for a compiler.
    """

    def __init__(
        self,
        mode: str,
        packages: Sequence[Package] = (),
        *,
        time_factor: float = 1.0,
        compiled: Callable[[str], str] | None = None,
        machine: Sequence[str] = (),
    ) -> None:
        self.mode, self.packages, self.machine = mode, packages, machine
        self.compiled = compiled
        self.checker_limits = replace(CHECKER_LIMITS, time_limit_s=CHECKER_LIMITS.time_limit_s * time_factor)
        self.process: subprocess.Popen[bytes] | None = None
        self.errors: IO[bytes] | None = None
        self.is_stopped = False

    def _start(self) -> None:
        if self.is_stopped:
            raise EvaluationError("the sandbox was stopped")
        if self.process is None or self.process.poll() is not None:
            self.close()
            users = two_users() if self.mode != "none" else None
            self.errors = tempfile.TemporaryFile()  # noqa: SIM115 -- closed with the process
            try:
                self.process = subprocess.Popen(
                    command(self.mode, users, self.packages, self.machine),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self.errors,
                    env=ENVIRONMENT | ({"TMPDIR": tempfile.gettempdir()} if self.mode == "none" else {}),
                    start_new_session=True,
                    bufsize=0,
                    pass_fds=() if users is None else (users,),
                )
            finally:
                if users is not None:
                    os.close(users)
            if self.is_stopped:  # meanwhile
                self._kill(self.process)

    def stop(self) -> None:
        """End what it runs, now and for good; from any thread. Whose thread it is has it still to close."""
        self.is_stopped = True
        process = self.process
        if process is not None:
            self._kill(process)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """With what it has started already, which is told of its end only once it is at work itself, and is in a session of its
        own before that: a tool that is stopped starts nothing more, and still has its children. Without isolation one of them
        stays, to clear away what is left."""
        if self.mode == "none":
            process.kill()
        elif process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGSTOP)
                with contextlib.suppress(psutil.Error):
                    for child in psutil.Process(process.pid).children():
                        with contextlib.suppress(psutil.Error):
                            child.kill()
                os.killpg(process.pid, signal.SIGKILL)

    def close(self, wait_s: float = 0.5) -> None:
        if self.process is not None:
            assert self.process.stdin is not None and self.process.stdout is not None
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=wait_s)
            self._kill(self.process)
            self.process.wait()
            self.process.stdout.close()
            self.process = None
        if self.errors is not None:
            self.errors.close()
            self.errors = None

    def run_with_retries(self, program: Program) -> Verdict:
        """A verdict that is the program's own doing.

        Raises:
            EvaluationError: its test is broken, or the sandbox died every time; names the program.
        """
        last_words = ""
        for _ in range(1 + RETRIES):
            try:
                verdict = self.run(program)
            except StalledError:
                self.close(wait_s=0)
                return Verdict("timeout", len(program.tests), 0, detail="the sandbox stalled and was killed")
            except OSError as error:
                last_words = self.last_words(error)
                self.close()
                continue
            if verdict.status == "sandbox_error":
                raise EvaluationError(f"{_name(program)}: {verdict.detail}")
            return verdict
        raise EvaluationError(f"{_name(program)}: the sandbox ({self.mode}) could not run it: {last_words}")

    def run(self, program: Program) -> Verdict:
        """One program, up to its first failure."""
        refused = _refused(program)
        if refused:
            return Verdict("compile_error", len(program.tests), 0, detail=refused)
        self._start()
        order = _order(program.source, program.limits or Limits())
        if isinstance(program.tests[0], AssertTest):
            return self._run_asserts(program, order)
        has_checker = program.own_checker or program.testlib_checker
        return self._run_checked(program, order) if has_checker else self._run_inputs(program, order)

    def answer(self, source: str, stdin: str, limits: Limits) -> dict[str, Any]:
        """How a program ends (`status`, empty where that is well; `detail`) and what it prints (`output`).

        Raises:
            OSError, StalledError: the sandbox died, or does not answer.
        """
        self._start()
        return self._run_alone(_order(source, limits), stdin)

    def _run_asserts(self, program: Program, order: dict[str, Any]) -> Verdict:
        codes = [test.code for test in program.tests if isinstance(test, AssertTest)]
        message = {**order, "tests": codes} | {name: getattr(program, name) for name in ("helpers", "imports", "defines")}
        try:
            reply = self._ask(message, STALLED_S + 2 * order["limits"]["wall_limit_s"])
        except OSError:
            if self._exit_code() == signal.SIGPROF:  # its own alarm, see `sandbox_clock.alarm`
                return Verdict("timeout", len(codes), 0, detail="a test did not come back from a call")
            raise
        return Verdict(reply["status"] or "passed", len(codes), reply["passed"], reply["wall_s"], reply["detail"])

    def _run_inputs(self, program: Program, order: dict[str, Any]) -> Verdict:
        tests, wall_s = [test for test in program.tests if isinstance(test, IOTest)], 0.0
        for number, test in enumerate(tests):
            has_more = number + 1 < len(tests)
            message = {**(order if number == 0 else {}), "stdin": test.stdin, "more": has_more}
            reply = self._ask(message, STALLED_S + order["limits"]["wall_limit_s"])
            wall_s += reply["wall_s"]
            failure = _judge(reply, test, program.checker)
            if failure is not None:
                if has_more:
                    self._send({"stop": True})
                return Verdict(failure[0], len(tests), number, wall_s, failure[1])
        return Verdict("passed", len(tests), len(tests), wall_s)

    def _run_checked(self, program: Program, order: dict[str, Any]) -> Verdict:
        """Standard input tests that the problem's own checker judges: in its own process, after the program's has ended."""
        tests, wall_s = [test for test in program.tests if isinstance(test, IOTest)], 0.0
        for number, test in enumerate(tests):
            reply = self._run_alone(order, test.stdin)
            wall_s += reply["wall_s"]
            status, detail = reply["status"], reply["detail"]
            if not status:
                status, detail = self._judged(program, test, reply["output"])
            if status:
                return Verdict(status, len(tests), number, wall_s, detail)
        return Verdict("passed", len(tests), len(tests), wall_s)

    def _judged(self, program: Program, test: IOTest, printed: str) -> tuple[VerdictStatus | Literal[""], str]:
        """Status (empty: right) and detail, by the problem's own checker."""
        try:
            opinion = self._opinion(program, test, printed)
            own = opinion if opinion.is_right or opinion.is_broken else self._opinion(program, test, test.stdout)
        except BrokenCheckerError as error:
            return "sandbox_error", f"the checker does not compile: {error}"
        except StalledError:
            self.close(wait_s=0)
            return "sandbox_error", "the sandbox stalled while the checker ran"
        said = f"; it says: {opinion.message}" if opinion.message else ""
        if opinion.is_broken:
            return "sandbox_error", f"the checker fails{said}"
        if not own.is_right:
            said = f"; it says: {own.message}" if own.message else ""
            return "sandbox_error", f"the checker does not accept the test's own output{said}"
        return ("", "") if opinion.is_right else ("wrong_answer", f"printed {printed[:200]!r}{said}")

    def _opinion(self, program: Program, test: IOTest, printed: str) -> Opinion:
        if not program.testlib_checker:
            return opinion_of_script(self.answer(script_of(program.own_checker), files_of(test, printed), self.checker_limits))
        if self.compiled is None:
            raise EvaluationError(f"{_name(program)} has a checker in C++, and there is no testlib.h to compile it with")
        given = files_of_compiled(self.compiled(program.testlib_checker), test, printed)
        return opinion_of_compiled(self.answer(COMPILED_SCRIPT, given, self.checker_limits))

    def _run_alone(self, order: dict[str, Any], stdin: str) -> dict[str, Any]:
        return self._ask({**order, "stdin": stdin, "more": False}, STALLED_S + order["limits"]["wall_limit_s"])

    def _ask(self, message: dict[str, Any], patience_s: float) -> dict[str, Any]:
        self._send(message)
        return self._receive(patience_s)

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode()
        self._write(struct.pack(">I", len(data)) + data)

    def _write(self, data: bytes) -> None:
        assert self.process is not None and self.process.stdin is not None
        left = memoryview(data)
        while left:
            left = left[os.write(self.process.stdin.fileno(), left) :]

    def _receive(self, patience_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + patience_s
        (size,) = struct.unpack(">I", self._read(4, deadline))
        reply: dict[str, Any] = json.loads(self._read(size, deadline))
        return reply

    def _read(self, size: int, deadline: float) -> bytes:
        assert self.process is not None and self.process.stdout is not None
        pipe, parts = self.process.stdout.fileno(), bytearray()
        while len(parts) < size:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise StalledError("it does not answer")
            chunk = os.read(pipe, size - len(parts))
            if not chunk:
                raise OSError("the sandbox's server died")
            parts += chunk
        return bytes(parts)

    def _exit_code(self) -> int | None:
        """Of a sandbox that has ended, or is about to."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(timeout=1)
        return None

    def last_words(self, error: Exception) -> str:
        """Why it did not start, died or stalled: the error, and what it wrote to its standard error."""
        if self.process is None or self.errors is None:
            return str(error)
        self._exit_code()
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").strip().splitlines()
        return f"{error}: {lines[-1][:300]}" if lines else str(error)


def _order(source: str, limits: Limits) -> dict[str, Any]:
    """What a server is told of a program."""
    wall_limit_s = STALLED_S + WALL_FACTOR * limits.time_limit_s
    return {"source": source, "limits": {**asdict(limits), "wall_limit_s": wall_limit_s}}


def _name(program: Program) -> str:
    return program.name or f"the program {program.source[:60]!r}"


def _refused(program: Program) -> str:
    """Programs that are not worth starting."""
    if not program.tests:
        raise EvaluationError(f"{_name(program)}: a program without tests cannot be judged")
    if len({type(test) for test in program.tests}) > 1:
        raise EvaluationError(f"{_name(program)}: a program has standard input tests or assert tests, not both")
    try:
        size = len(program.source.encode())
    except UnicodeEncodeError as error:
        return f"not UTF-8 text: {error}"
    return f"{size:,} bytes of source, more than {MAX_SOURCE_BYTES:,}" if size > MAX_SOURCE_BYTES else ""


def _judge(reply: dict[str, Any], test: IOTest, checker: Checker) -> tuple[VerdictStatus, str] | None:
    """None when the test passed, else (status, detail)."""
    if reply["status"]:
        return reply["status"], reply["detail"]
    return (
        None if same_output(reply["output"], test.stdout, checker) else ("wrong_answer", f"printed {reply['output'][:200]!r}")
    )
