"""Untrusted Python programs, run where they can do no harm and judged where they cannot cheat.

A few warm interpreters live inside namespaces (bubblewrap, or util-linux's unshare) and fork for every test; see
`sandbox_guest`. Expected outputs stay on this side.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wmtp.errors import EvaluationError
from wmtp.evaluation.checker import same_output
from wmtp.types import AssertTest, IOTest, Limits, Program, Test, Verdict, VerdictStatus

GUEST = Path(__file__).with_name("sandbox_guest.py")
TMP_BYTES = 64 * 2**20
MAX_SOURCE_BYTES = 2**20
RETRIES = 2
_INSIDE = "/wmtp/sandbox_guest.py"


def run_tests(
    programs: Sequence[Program],
    *,
    limits: Limits,
    num_workers: int,
    allow_unsafe: bool = False,
    on_verdict: Callable[[int, Verdict], None] | None = None,
) -> list[Verdict]:
    """Run every program against its tests, stopping at its first failure.

    Args:
        limits: for programs that bring none of their own.
        num_workers: sandboxes at work at the same time.
        allow_unsafe: run without isolation where none can be had.
        on_verdict: called from worker threads, one at a time, as verdicts come in.
    Returns:
        one verdict per program, in order.
    Raises:
        EvaluationError: no isolation, or a program that the sandbox could not run after retries.
    """
    mode = isolation(allow_unsafe=allow_unsafe)
    verdicts: list[Verdict | None] = [None] * len(programs)
    numbers, lock, failures = iter(range(len(programs))), threading.Lock(), list[Exception]()

    def work() -> None:
        worker = _Worker(mode)
        try:
            while not failures:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                verdict = worker.run_with_retries(programs[number], limits)
                verdicts[number] = verdict
                with lock:
                    if on_verdict is not None:
                        on_verdict(number, verdict)
        except Exception as error:
            failures.append(error)
        finally:
            worker.close()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(max(1, min(num_workers, len(programs))))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [verdict for verdict in verdicts if verdict is not None]


def isolation(*, allow_unsafe: bool = False) -> str:
    """How programs are isolated on this machine: `bubblewrap`, `unshare` or (only if allowed) `none`.

    Raises:
        EvaluationError: nothing works here; says what to install.
    """
    for mode in ("bubblewrap", "unshare"):
        if not _problem_with(mode):
            return mode
    if allow_unsafe:
        return "none"
    raise EvaluationError(
        "programs cannot be isolated here: "
        + "; ".join(f"{mode}: {_problem_with(mode)}" for mode in ("bubblewrap", "unshare"))
        + ". Install bubblewrap (apt-get install bubblewrap) and allow unprivileged user namespaces, "
        "or accept the risk with evaluate.sandbox.allow_unsafe=true (it is recorded in the results)"
    )


@functools.cache
def _problem_with(mode: str) -> str:
    """Why `mode` does not work here; empty when it does."""
    tool = {"bubblewrap": "bwrap", "unshare": "unshare"}[mode]
    if shutil.which(tool) is None:
        return f"{tool} is not installed"
    worker = _Worker(mode)
    try:
        probe = worker.run(Program("print(input())", (IOTest("ok\n", "ok\n"),)), Limits())
        return "" if probe.passed else f"{probe.status} {probe.detail}"
    except OSError as error:
        return str(error)
    finally:
        worker.close()


def _system_folders() -> list[str]:
    """What a Python interpreter needs, read-only, and nothing of anybody's home beyond it."""
    python = {str(Path(sys.base_prefix).resolve()), str(Path(sys.base_exec_prefix).resolve())}
    return ["/usr", *sorted(p for p in python if not p.startswith("/usr/"))]


def _command(mode: str) -> list[str]:
    python = [str(Path(sys.base_prefix).resolve() / "bin" / f"python3.{sys.version_info.minor}"), "-I", "-S", "-B"]
    if mode == "none":
        return [*python, str(GUEST), "open"]
    if mode == "unshare":
        flags = ["--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]
        return ["unshare", *flags, "sh", "-c", _ROOT_SCRIPT, "sh", str(GUEST), " ".join(_system_folders()), *python]
    links = [
        f for name in ("bin", "lib", "lib64") if Path(f"/{name}").exists() for f in ("--symlink", f"usr/{name}", f"/{name}")
    ]
    binds = [f for folder in _system_folders() for f in ("--ro-bind", folder, folder)]
    return [
        "bwrap", "--unshare-all", "--unshare-user", "--uid", "0", "--gid", "0",
        "--as-pid-1", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETPCAP", "--cap-add", "CAP_KILL",
        *binds, *links, "--proc", "/proc", "--dev", "/dev", "--size", str(TMP_BYTES), "--tmpfs", "/tmp",
        "--ro-bind", str(GUEST), _INSIDE, "--remount-ro", "/", "--chdir", "/tmp", *python, _INSIDE, "isolated",
    ]  # fmt: skip


_ROOT_SCRIPT = f"""
set -e
guest=$1; folders=$2; shift 2
root=/mnt; mount -t tmpfs -o mode=755,size={TMP_BYTES} tmpfs "$root"
for f in $folders; do mkdir -p "$root$f"; mount --rbind "$f" "$root$f"; mount -o remount,ro,bind "$root$f"; done
for f in bin lib lib64; do [ -e /$f ] && ln -s usr/$f "$root/$f"; done
mkdir -p "$root/proc" "$root/dev" "$root/tmp" "$root/wmtp"
mount -t proc proc "$root/proc"; mount -t tmpfs -o mode=1777,size={TMP_BYTES} tmpfs "$root/tmp"
touch "$root/dev/null" "$root{_INSIDE}"; mount --bind /dev/null "$root/dev/null"; mount --bind "$guest" "$root{_INSIDE}"
mount -o remount,ro "$root"
exec chroot "$root" "$@" {_INSIDE} isolated
"""


class _Worker:
    """One warm interpreter, restarted when it dies."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.process: subprocess.Popen[bytes] | None = None

    def _start(self) -> subprocess.Popen[bytes]:
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                _command(self.mode),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
                start_new_session=True,
            )
        return self.process

    def close(self) -> None:
        if self.process is not None:
            assert self.process.stdin is not None and self.process.stdout is not None
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.5)
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def run_with_retries(self, program: Program, limits: Limits) -> Verdict:
        """A verdict that is the program's own doing; a sandbox error is retried and then raised."""
        for _ in range(1 + RETRIES):
            try:
                verdict = self.run(program, limits)
            except OSError as error:
                verdict = Verdict("sandbox_error", len(program.tests), 0, detail=str(error))
            if verdict.status != "sandbox_error":
                return verdict
            self.close()
        raise EvaluationError(f"the sandbox ({self.mode}) could not run a program: {verdict.detail or 'it died'}")

    def run(self, program: Program, limits: Limits) -> Verdict:
        """One program, test by test."""
        own, total = program.limits or limits, len(program.tests)
        refused = _refused(program)
        if refused:
            return Verdict("compile_error", total, 0, detail=refused)
        self._send(_request(program, own))
        passed, wall_s = 0, 0.0
        failure: tuple[VerdictStatus, str] | None = None
        while True:
            reply = self._receive()
            if reply.get("done"):
                break
            wall_s += reply.get("wall_s", 0.0)
            if "output" not in reply:
                failure = (reply["status"], reply.get("detail", ""))
                continue
            failure = _judge(reply, program.tests[passed])
            passed += failure is None
            finished = failure is not None or passed == total
            self._send_line(b"stop\n" if finished else b"next\n")
        if failure is None and passed < total:
            failure = ("sandbox_error", "the runner ended before the last test")
        if failure is None:
            return Verdict("passed", total, passed, wall_s)
        return Verdict(failure[0], total, passed, wall_s, failure[1])

    def _send(self, message: dict[str, Any]) -> None:
        self._start()
        self._send_line(json.dumps(message).encode() + b"\n")

    def _send_line(self, line: bytes) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self.process is not None and self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise OSError("the sandbox's server died")
        reply: dict[str, Any] = json.loads(line)
        return reply


def _refused(program: Program) -> str:
    """Programs that are not worth starting."""
    if not program.tests:
        raise EvaluationError("a program without tests cannot be judged")
    try:
        size = len(program.source.encode())
    except UnicodeEncodeError as error:
        return f"not UTF-8 text: {error}"
    return f"{size:,} bytes of source, more than {MAX_SOURCE_BYTES:,}" if size > MAX_SOURCE_BYTES else ""


def _request(program: Program, limits: Limits) -> dict[str, Any]:
    """What enters the sandbox: never an expected output."""
    tests = [{"code": test.code} if isinstance(test, AssertTest) else {"stdin": test.stdin} for test in program.tests]
    return {
        "source": program.source,
        "tests": tests,
        "time_limit_s": limits.time_limit_s,
        "memory_limit_bytes": limits.memory_limit_bytes,
        "output_limit_bytes": limits.output_limit_bytes,
    }


def _judge(reply: dict[str, Any], test: Test) -> tuple[Any, str] | None:
    """None when the test passed, else (status, detail)."""
    if reply["status"]:
        if isinstance(test, AssertTest) and reply["detail"].startswith("AssertionError"):
            return "wrong_answer", reply["detail"]
        return reply["status"], reply["detail"]
    if isinstance(test, AssertTest):
        return None if reply["finished"] else ("wrong_answer", "it ended before the end of the tests")
    printed = base64.b64decode(reply["output"]).decode("utf-8", "replace")
    return None if same_output(printed, test.stdout) else ("wrong_answer", f"printed {printed[:200]!r}")
