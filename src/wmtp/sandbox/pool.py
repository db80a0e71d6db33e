"""Untrusted Python programs, run where they can do no harm and judged where they cannot cheat.

A few warm interpreters live inside namespaces (bubblewrap, or util-linux's unshare) and fork for every test; see
`guest/sandbox_server.py`. Expected outputs stay on this side.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from wmtp.errors import EvaluationError
from wmtp.sandbox.checker import same_output
from wmtp.types import AssertTest, IOTest, Limits, Program, Verdict, VerdictStatus

GUEST_FOLDER = Path(__file__).resolve().parent / "guest"
SERVER = "sandbox_server.py"
NOBODY = 65534
STALLED_S = 60.0
"""Beyond a test's own limit; a busy machine may be slow, a program that could hold the runner up is stopped all the same."""
TMP_BYTES = 64 * 2**20
MAX_SOURCE_BYTES = 2**20
RETRIES = 2
_INSIDE = "/wmtp"


def run_tests(
    programs: Sequence[Program],
    *,
    limits: Limits,
    num_workers: int,
    allow_unsafe: bool = False,
    time_factor: float = 1.0,
    on_verdict: Callable[[int, Verdict], None] | None = None,
) -> list[Verdict]:
    """Run every program against its tests, stopping at its first failure.

    Args:
        limits: for programs that bring none of their own.
        num_workers: sandboxes at work at the same time.
        allow_unsafe: run without isolation where none can be had.
        time_factor: for every time limit, see `machine.machine_factor`.
        on_verdict: called from worker threads, one at a time, as verdicts come in.
    Returns:
        one verdict per program, in order.
    Raises:
        EvaluationError: no isolation, or a program that the sandbox could not run after retries.
    """
    mode = isolation(allow_unsafe=allow_unsafe)
    verdicts: list[Verdict | None] = [None] * len(programs)
    numbers, lock, failures = iter(range(len(programs))), threading.Lock(), list[Exception]()

    def work(core: int | None) -> None:
        if core is not None:  # of this thread, and of all that it starts
            os.sched_setaffinity(0, {core})
        worker = _Worker(mode)
        try:
            while not failures:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                own = programs[number].limits or limits
                scaled = replace(own, time_limit_s=own.time_limit_s * time_factor)
                verdict = worker.run_with_retries(replace(programs[number], limits=scaled))
                verdicts[number] = verdict
                with lock:
                    if on_verdict is not None:
                        on_verdict(number, verdict)
        except Exception as error:
            failures.append(error)
        finally:
            worker.close()

    cores = _cores(max(1, min(num_workers, len(programs))))
    threads = [threading.Thread(target=work, args=(core,), daemon=True) for core in cores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [verdict for verdict in verdicts if verdict is not None]


def _cores(num_workers: int) -> list[int | None]:
    """The core of each worker, where there is a worker for each core anyway: its processes wake each other all the time."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not cores or num_workers < len(cores):
        return [None] * num_workers
    return [cores[number % len(cores)] for number in range(num_workers)]


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
        probe = worker.run(Program("print(input())", (IOTest("ok\n", "ok\n"),)))
        return "" if probe.passed else f"{probe.status} {probe.detail}"
    except OSError as error:
        return str(error)
    finally:
        worker.close()


def _system_folders() -> list[str]:
    """What a Python interpreter needs, read-only, and nothing of anybody's home beyond it."""
    python = {str(Path(sys.base_prefix).resolve()), str(Path(sys.base_exec_prefix).resolve())}
    return ["/usr", *sorted(p for p in python if not p.startswith("/usr/"))]


def _command(mode: str, user_namespace: int | None) -> list[str]:
    python = [str(Path(sys.base_prefix).resolve() / "bin" / f"python3.{sys.version_info.minor}"), "-I", "-S", "-B"]
    if mode == "none":
        return [*python, str(GUEST_FOLDER / SERVER), "open"]
    if mode == "unshare":
        flags = ["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]
        enter = (
            ["unshare", "--user", "--map-root-user"]
            if user_namespace is None
            else ["nsenter", f"--user=/proc/self/fd/{user_namespace}", "unshare"]
        )
        return [*enter, *flags, "sh", "-c", _ROOT_SCRIPT, "sh", str(GUEST_FOLDER), " ".join(_system_folders()), *python]
    links = [
        f for name in ("bin", "lib", "lib64") if Path(f"/{name}").exists() for f in ("--symlink", f"usr/{name}", f"/{name}")
    ]
    parents = sorted({str(parent) for folder in _system_folders() for parent in Path(folder).parents} - {"/"})
    binds = [f for parent in parents for f in ("--perms", "0755", "--dir", parent)]
    binds += [f for folder in _system_folders() for f in ("--ro-bind", folder, folder)]
    binds += ["--ro-bind", str(GUEST_FOLDER), _INSIDE]
    user = ["--unshare-user", "--uid", "0", "--gid", "0"] if user_namespace is None else ["--userns", str(user_namespace)]
    keep = ("SYS_ADMIN", "SETPCAP", "KILL", *(() if user_namespace is None else ("SETUID", "SETGID")))
    return [
        "bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", *user,
        "--as-pid-1", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", *[f for name in keep for f in ("--cap-add", f"CAP_{name}")],
        *binds, *links, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev",
        "--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp",
        *python, f"{_INSIDE}/{SERVER}", "isolated",
    ]  # fmt: skip


_ROOT_SCRIPT = f"""
set -e
guest=$1; folders=$2; shift 2
root=/mnt; mount -t tmpfs -o mode=755,size={TMP_BYTES} tmpfs "$root"
for f in $folders; do mkdir -p "$root$f"; mount --rbind "$f" "$root$f"; mount -o remount,ro,bind "$root$f"; done
for f in bin lib lib64; do [ -e /$f ] && ln -s usr/$f "$root/$f"; done
mkdir -p "$root/proc" "$root/dev/shm" "$root/tmp" "$root{_INSIDE}"
mount -t proc proc "$root/proc"; mount -t tmpfs -o mode=1777,size={TMP_BYTES} tmpfs "$root/tmp"
for f in null zero random urandom; do touch "$root/dev/$f"; mount --bind "/dev/$f" "$root/dev/$f"; done
ln -s /proc/self/fd/0 "$root/dev/stdin"; ln -s /proc/self/fd/1 "$root/dev/stdout"; ln -s /proc/self/fd "$root/dev/fd"
mount --bind "$guest" "$root{_INSIDE}"; mount -o remount,ro,bind "$root{_INSIDE}"
mount -o remount,ro "$root"
exec chroot "$root" "$@" {_INSIDE}/{SERVER} isolated
"""


def _two_users() -> int | None:
    """As root: a user namespace whose programs run as `nobody`, not as this machine's root; a descriptor of it.

    Limits on the number of processes do not bind root, and files of the kernel's ask for root, not for capabilities.
    """
    if os.geteuid() != 0:
        return None
    process = subprocess.Popen(["unshare", "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(b"x")
        process.stdin.flush()
        process.stdout.read(1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{process.pid}/{name}").write_text(f"0 0 1\n1 {NOBODY} 1\n")
        return os.open(f"/proc/{process.pid}/ns/user", os.O_RDONLY)
    except OSError:
        return None  # itself in a namespace without a second user
    finally:
        process.communicate()


class _StalledError(Exception):
    """The sandbox does not answer any more."""


class _Worker:
    """One warm interpreter, restarted when it dies."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.process: subprocess.Popen[bytes] | None = None

    def _start(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.close()
            users = _two_users() if self.mode != "none" else None
            try:
                self.process = subprocess.Popen(
                    _command(self.mode, users),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
                    start_new_session=True,
                    bufsize=0,
                    pass_fds=() if users is None else (users,),
                )
            finally:
                if users is not None:
                    os.close(users)

    def close(self, wait_s: float = 0.5) -> None:
        if self.process is not None:
            assert self.process.stdin is not None and self.process.stdout is not None
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=wait_s)
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def run_with_retries(self, program: Program) -> Verdict:
        """A verdict that is the program's own doing; a sandbox error is retried and then raised."""
        for _ in range(1 + RETRIES):
            try:
                verdict = self.run(program)
            except _StalledError:
                self.close(wait_s=0)
                return Verdict("timeout", len(program.tests), 0, detail="the sandbox stalled and was killed")
            except OSError as error:
                verdict = Verdict("sandbox_error", len(program.tests), 0, detail=str(error))
            if verdict.status != "sandbox_error":
                return verdict
            self.close()
        raise EvaluationError(f"the sandbox ({self.mode}) could not run a program: {verdict.detail or 'it died'}")

    def run(self, program: Program) -> Verdict:
        """One program, up to its first failure."""
        refused = _refused(program)
        if refused:
            return Verdict("compile_error", len(program.tests), 0, detail=refused)
        self._start()
        order = {"source": program.source, "limits": asdict(program.limits or Limits())}
        if isinstance(program.tests[0], AssertTest):
            return self._run_asserts(program, order)
        return self._run_inputs(program, order)

    def _run_asserts(self, program: Program, order: dict[str, Any]) -> Verdict:
        codes = [test.code for test in program.tests if isinstance(test, AssertTest)]
        reply = self._ask({**order, "tests": codes}, STALLED_S + len(codes) * order["limits"]["time_limit_s"])
        return Verdict(reply["status"] or "passed", len(codes), reply["passed"], reply["wall_s"], reply["detail"])

    def _run_inputs(self, program: Program, order: dict[str, Any]) -> Verdict:
        tests, wall_s = [test for test in program.tests if isinstance(test, IOTest)], 0.0
        for number, test in enumerate(tests):
            has_more = number + 1 < len(tests)
            message = {**(order if number == 0 else {}), "stdin": test.stdin, "more": has_more}
            reply = self._ask(message, STALLED_S + order["limits"]["time_limit_s"])
            wall_s += reply["wall_s"]
            failure = _judge(reply, test)
            if failure is not None:
                if has_more:
                    self._send({"stop": True})
                return Verdict(failure[0], len(tests), number, wall_s, failure[1])
        return Verdict("passed", len(tests), len(tests), wall_s)

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
                raise _StalledError
            chunk = os.read(pipe, size - len(parts))
            if not chunk:
                raise OSError("the sandbox's server died")
            parts += chunk
        return bytes(parts)


def _refused(program: Program) -> str:
    """Programs that are not worth starting."""
    if not program.tests:
        raise EvaluationError("a program without tests cannot be judged")
    if len({type(test) for test in program.tests}) > 1:
        raise EvaluationError("a program has standard input tests or assert tests, not both")
    try:
        size = len(program.source.encode())
    except UnicodeEncodeError as error:
        return f"not UTF-8 text: {error}"
    return f"{size:,} bytes of source, more than {MAX_SOURCE_BYTES:,}" if size > MAX_SOURCE_BYTES else ""


def _judge(reply: dict[str, Any], test: IOTest) -> tuple[VerdictStatus, str] | None:
    """None when the test passed, else (status, detail)."""
    if reply["status"]:
        return reply["status"], reply["detail"]
    return None if same_output(reply["output"], test.stdout) else ("wrong_answer", f"printed {reply['output'][:200]!r}")
