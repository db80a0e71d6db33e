"""Runs inside the sandbox, with nothing but the standard library: a warm interpreter that forks for every program.

Processes: the server (this file's main), which reads nothing but the signal to start -> one runner per program, first
process of new PID, mount and IPC namespaces, so that nothing of the program outlives it -> one candidate per test, which
drops every privilege and runs the untrusted code. Only the last is untrusted. It is forked before its test is read, and
the expected values are in no ancestor of it, so they are nowhere in its memory.

Protocol on file descriptors 0 and 1: a byte starts a runner; after it, messages as `sandbox_calls.pack` makes them, read
byte-exactly, one answer to each. Of standard input tests the candidate gets the input, and the host judges the output. Of
assert tests it gets only calls; see `sandbox_calls`.
"""

import contextlib
import ctypes
import gc
import io
import json
import os
import resource
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
from types import CodeType
from typing import Any, NoReturn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sandbox_calls
import sandbox_seccomp
from sandbox_watch import MAX_PROCESSES, MEMORY_STATUS, Ended, Watch, kill_everything

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWPID, CLONE_NEWNS, CLONE_NEWIPC = 0x20000000, 0x00020000, 0x08000000
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE = 1, 24, 38, 4
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 1, 2, 4, 8, 4096
CAP_KILL, CAP_SETGID, CAP_SETUID, LAST_CAPABILITY = 5, 6, 7, 40
CANDIDATE_ID = 1
RUNNER_EXTRA_BYTES = 2**29
FILE_BYTES = 16 * 2**20
CHANNEL = 3


def serve(isolated: bool) -> None:
    """Start a runner for every byte until the host closes the channel.

    Programs start in their own /tmp; without isolation, in a new folder, the only one that is ever cleaned.
    """
    folder = "/tmp" if isolated else tempfile.mkdtemp(prefix="wmtp-unsafe-")
    os.chdir(folder)
    filters = sandbox_seccomp.build_filter(os.uname().machine) if isolated else b""
    gc.freeze()
    while os.read(0, 1):
        middle = os.fork()
        if middle == 0:
            enter_namespaces(isolated, filters)
            os._exit(0)
        _, status = os.waitpid(middle, 0)
        if not isolated:
            clean(folder)
        send({"done": True, "runner_status": status})
    if not isolated:
        shutil.rmtree(folder, ignore_errors=True)


def send(message: dict) -> None:
    data = memoryview(sandbox_calls.pack(message))
    while data:
        data = data[os.write(1, data) :]


def receive() -> dict:
    """One message of the host's, and not a byte more."""
    message: dict = json.loads(read_exactly(struct.unpack(">I", read_exactly(4))[0]))
    return message


def read_exactly(size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        chunk = os.read(0, size - len(parts))
        if not chunk:
            os._exit(1)
        parts += chunk
    return bytes(parts)


def check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def enter_namespaces(isolated: bool, filters: bytes) -> None:
    """The middle process: new namespaces, and the runner as their first process."""
    try:
        if isolated:
            check(LIBC.unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC), "unshare")
        pid = os.fork()
        if pid == 0:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if isolated:
                mount_private_folders()
            lock_down(isolated, filters)
            run_program(receive())
            os._exit(0)
        os.waitpid(pid, 0)
    except OSError as error:
        send({"status": "sandbox_error", "detail": str(error)})


def mount_private_folders() -> None:
    """A /proc that shows this program's processes only, and empty /tmp and /dev/shm that vanish with it."""
    safe = MS_NOSUID | MS_NODEV
    check(LIBC.mount(b"proc", b"/proc", b"proc", safe | MS_NOEXEC | MS_RDONLY, None), "mount /proc")
    check(LIBC.mount(b"tmpfs", b"/tmp", b"tmpfs", safe, b"size=64m,nr_inodes=16384,mode=1777"), "mount /tmp")
    check(LIBC.mount(b"/tmp", b"/dev/shm", None, MS_BIND, None), "mount /dev/shm")
    os.chdir("/tmp")


def lock_down(isolated: bool, filters: bytes) -> None:
    """The runner keeps the right to kill its candidates and to change their user, and cannot be looked into."""
    LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    for capability in range(LAST_CAPABILITY + 1):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    keep = 1 << CAP_KILL if isolated else 0
    if has_second_user():
        keep |= 1 << CAP_SETGID | 1 << CAP_SETUID
    set_capabilities(keep)
    sandbox_seccomp.install(LIBC, filters)


def set_capabilities(low: int) -> None:
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    check(LIBC.capset(header, (ctypes.c_uint32 * 6)(low, low, 0, 0, 0, 0)), "capset")


def has_second_user() -> bool:
    """Whether the namespace has a user of its own for candidates (only root can give it one)."""
    with open("/proc/self/uid_map") as file:
        return any(int(line.split()[0]) == CANDIDATE_ID for line in file)


def run_program(program: dict) -> None:
    memory = program["limits"]["memory_limit_bytes"]
    limit(resource.RLIMIT_AS, memory + RUNNER_EXTRA_BYTES)
    try:
        code = compile(program["source"], "program.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        send({"status": "compile_error", "detail": f"{type(error).__name__}: {error}"[:500]})
        return
    send({"ready": True})
    while True:
        test = receive()
        if "stop" in test:
            return
        send(run_test(code, test, program["limits"]))


def run_test(code: CodeType, test: dict, limits: dict) -> dict:
    """One test, with one new process for the program; how it ended and what it printed."""
    started = time.monotonic()
    watch = start_candidate(code, test, limits)
    status, detail, output = "", "", b""
    try:
        if "stdin" in test:
            watch.wait_for_end()
        else:
            examine(watch, receive()["code"])
    except Ended as ended:
        status, detail = ended.status, ended.detail
        if not status and "stdin" not in test:
            status = "wrong_answer"
    finally:
        watch.close()
        kill_everything()
    if "stdin" in test:
        output = bytes(watch.output[: limits["output_limit_bytes"]])
    return {
        "status": status,
        "detail": detail,
        "output": output.decode("utf-8", "replace"),
        "wall_s": time.monotonic() - started,
    }


def examine(watch: Watch, source: str) -> None:
    """Execute the test here, against the candidate.

    Raises:
        Ended: it did not reach its end; says how.
    """

    def out_of_time(*_: object) -> NoReturn:
        raise Ended("timeout")

    stdout = sys.stdout
    signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, max(1e-6, watch.deadline - time.monotonic()))
    try:
        with open(os.devnull, "w") as sys.stdout:
            sandbox_calls.Examiner(watch.exchange).run(source)
    except sandbox_calls.UnfitTest as error:
        raise Ended("sandbox_error", str(error)[:500]) from None
    except MemoryError:
        raise Ended("memory_limit") from None
    except AssertionError as error:
        raise Ended("wrong_answer", f"AssertionError: {error}"[:500]) from None
    except Exception as error:
        raise Ended("runtime_error", f"{type(error).__name__}: {error}"[:500]) from None
    except SystemExit:
        raise Ended("wrong_answer", "the test was left before its end") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        sys.stdout = stdout


def start_candidate(code: CodeType, test: dict, limits: dict) -> Watch:
    out_read, out_write = os.pipe()
    os.fchmod(out_write, 0o666)  # some programs open /dev/stdout
    ours, theirs = socket.socketpair()
    deadline = time.monotonic() + limits["time_limit_s"]
    pid = os.fork()
    if pid == 0:
        os.setsid()
        become_untrusted(test.get("stdin", ""), out_write, theirs.fileno(), limits)
        untrusted(code, is_asked="stdin" not in test)
    os.close(out_write)
    theirs.close()
    return Watch(pid, out_read, ours.detach(), limits, deadline)


# ------------------------------------------------------------------------------- untrusted from here on


def become_untrusted(stdin: str, out_write: int, channel: int, limits: dict) -> None:
    """Standard streams, the channel, limits, and no privileges: nothing of the runner is reachable any more."""
    channel, out_write = os.dup(channel), os.dup(out_write)
    read = feed(stdin)
    null = os.open("/dev/null", os.O_WRONLY)
    high = [os.dup2(fd, 100 + number) for number, fd in enumerate((read, out_write, null, channel))]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    os.closerange(CHANNEL + 1, 1024)
    limit(resource.RLIMIT_AS, limits["memory_limit_bytes"])
    limit(resource.RLIMIT_CPU, int(limits["time_limit_s"]) + 1)
    limit(resource.RLIMIT_FSIZE, FILE_BYTES)
    limit(resource.RLIMIT_NOFILE, 64)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_NPROC, MAX_PROCESSES)
    if has_second_user():
        os.setgroups([])
        os.setresgid(CANDIDATE_ID, CANDIDATE_ID, CANDIDATE_ID)
        os.setresuid(CANDIDATE_ID, CANDIDATE_ID, CANDIDATE_ID)
    set_capabilities(0)
    LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def feed(stdin: str) -> int:
    """A descriptor that `stdin` can be read from."""
    read, write = os.pipe()
    data = stdin.encode("utf-8", "surrogatepass")
    if len(data) > 60000:
        if os.fork() == 0:
            os.close(read)
            with contextlib.suppress(OSError), os.fdopen(write, "wb") as file:
                file.write(data)
            os._exit(0)
    else:
        os.write(write, data)
    os.close(write)
    os.fchmod(read, 0o666)  # and /dev/stdin
    return read


def limit(kind: int, value: int) -> None:
    """At most `value` from now on."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def untrusted(code: CodeType, is_asked: bool) -> NoReturn:
    """Run the program, then answer what it is asked; no exit code and no message of this process is a pass."""
    sys.stdin = io.TextIOWrapper(io.FileIO(0, "r", closefd=False), encoding="utf-8", errors="replace")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8", errors="replace")
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="replace", write_through=True)
    sys.argv = ["program.py"]
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    candidate = sandbox_calls.Candidate(CHANNEL, namespace)
    exit_now, flush = os._exit, sys.stdout.flush
    try:
        exec(code, namespace)
        flush()
        if is_asked:
            candidate.serve()
            flush()
        exit_now(0)
    except MemoryError:
        exit_now(MEMORY_STATUS)
    except SystemExit as error:
        flush()
        exit_now(0 if error.code in (None, 0) else 1)
    except BaseException as error:
        try:
            candidate.send({"failed": f"{type(error).__name__}: {error}"[:500]})
            flush()
        finally:
            exit_now(1)


def clean(folder: str) -> None:
    """Without isolation: nothing that a program wrote in `folder` reaches the next one."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)


if __name__ == "__main__":
    serve(isolated=sys.argv[1] == "isolated")
