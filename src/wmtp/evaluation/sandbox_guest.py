"""Runs inside the sandbox, with nothing but the standard library: a warm interpreter that forks for every program.

Protocol on file descriptors 0 and 1, JSON lines. The host sends a program; for each test the guest answers with what came
out, and the host, which alone knows what is expected, says `next` or `stop`.

Processes: the server (this file's main) -> one runner per program, first process of a new PID namespace, so that nothing
of the program outlives it -> one process per test, which drops every privilege and runs the untrusted code. Only the
last is untrusted; it holds no descriptor but its own standard streams (and, for assert tests, a one-way pipe).
"""

import base64
import contextlib
import ctypes
import gc
import io
import json
import os
import resource
import secrets
import select
import shutil
import signal
import sys
import tempfile
import time
from types import CodeType

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWPID = 0x20000000
CLONE_NEWNS = 0x00020000
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE = 1, 24, 38, 4
LAST_CAPABILITY = 40
MAX_PROCESSES = 32
MEMORY_STATUS = 97
COMPILE_STATUS = 98


def serve(isolated: bool) -> None:
    """Answer requests until the host closes the channel.

    Programs start in the sandbox's own /tmp; without isolation, in a new folder, the only one that is ever cleaned.
    """
    folder = "/tmp" if isolated else tempfile.mkdtemp(prefix="wmtp-unsafe-")
    os.chdir(folder)
    gc.freeze()
    while True:
        line = sys.stdin.buffer.readline()
        if not line:
            if not isolated:
                shutil.rmtree(folder, ignore_errors=True)
            return
        request = json.loads(line)
        runner = os.fork()
        if runner == 0:
            run_program(request, isolated)
            os._exit(0)
        _, status = os.waitpid(runner, 0)
        clean(folder)
        send({"done": True, "runner_status": status})


def send(message: dict) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


def run_program(request: dict, isolated: bool) -> None:
    """The middle process: enter a new PID namespace and wait for the runner in it."""
    if isolated and LIBC.unshare(CLONE_NEWPID) != 0:
        send({"status": "sandbox_error", "detail": f"unshare: {os.strerror(ctypes.get_errno())}"})
        return
    pid = os.fork()
    if pid == 0:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        run_tests(request)
        os._exit(0)
    os.waitpid(pid, 0)


def run_tests(request: dict) -> None:
    try:
        code = compile(request["source"], "program.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        send({"status": "compile_error", "detail": f"{type(error).__name__}: {error}"[:500]})
        return
    for test in request["tests"]:
        send(run_test(code, test, request))
        answer = sys.stdin.buffer.readline()
        if answer.strip() != b"next":
            return


def run_test(code: CodeType, test: dict, limits: dict) -> dict:
    """One test in one process; returns what it printed and how it ended."""
    out_read, out_write = os.pipe()
    done_read, done_write = os.pipe()
    ticket = secrets.token_hex(16)
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(out_read)
        os.close(done_read)
        become_untrusted(test.get("stdin", ""), out_write, done_write, limits)
        untrusted(code, test, 3, ticket)
    os.close(out_write)
    os.close(done_write)
    output, said, ending = collect(pid, out_read, done_read, started + limits["time_limit_s"], limits["output_limit_bytes"])
    os.close(out_read)
    os.close(done_read)
    kill_everything()
    status, detail = verdict_of(ending, said)
    return {
        "status": status,
        "detail": detail,
        "output": base64.b64encode(output).decode(),
        "finished": said == ticket.encode(),
        "wall_s": time.monotonic() - started,
    }


def collect(pid: int, out_read: int, done_read: int, deadline: float, limit: int) -> tuple[bytes, bytes, int | str]:
    """Read both pipes until the process ends, the deadline passes or it prints too much."""
    output, said, ending = bytearray(), bytearray(), None
    ended = os.pidfd_open(pid)
    waiting = [out_read, done_read, ended]
    while ending is None:
        ready, _, _ = select.select(waiting, [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            ending = "timeout"
        elif ended in ready:
            os.close(ended)
            _, status = os.waitpid(pid, 0)
            drain(out_read, done_read, output, said, limit)
            return bytes(output[:limit]), bytes(said), "output_limit" if len(output) > limit else status
        else:
            for pipe in ready:
                chunk = os.read(pipe, 65536)
                if not chunk:
                    waiting.remove(pipe)
                (output if pipe == out_read else said).extend(chunk)
            if len(output) > limit or len(said) > 4096:
                ending = "output_limit"
    os.close(ended)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return bytes(output[:limit]), bytes(said[:4096]), ending


def drain(out_read: int, done_read: int, output: bytearray, said: bytearray, limit: int) -> None:
    """What is still in the pipes of a process that has ended (its children may hold them open)."""
    pipes = [out_read, done_read]
    while pipes and len(output) <= limit and len(said) <= 4096:
        ready, _, _ = select.select(pipes, [], [], 0)
        if not ready:
            return
        for pipe in ready:
            chunk = os.read(pipe, 65536)
            if not chunk:
                pipes.remove(pipe)
            (output if pipe == out_read else said).extend(chunk)


def kill_everything() -> None:
    """Kill what the test left in this PID namespace (this process is its init and is spared)."""
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


def verdict_of(ending: int | str, said: bytes) -> tuple[str, str]:
    """(status, detail); an empty status means that it ended by itself with code 0."""
    if isinstance(ending, str):
        return ending, ""
    detail = said.decode("utf-8", "replace")[:500]
    if os.WIFSIGNALED(ending):
        number = os.WTERMSIG(ending)
        return ("timeout" if number == signal.SIGXCPU else "runtime_error"), f"killed by signal {number}"
    code = os.WEXITSTATUS(ending)
    if code == MEMORY_STATUS:
        return "memory_limit", ""
    if code == COMPILE_STATUS:
        return "compile_error", detail
    return ("", "") if code == 0 else ("runtime_error", detail or f"exit code {code}")


def become_untrusted(stdin: str, out_write: int, done_write: int, limits: dict) -> None:
    """Standard streams, limits, and no privileges: nothing of the server is reachable any more."""
    read, write = os.pipe()
    data = stdin.encode("utf-8", "surrogatepass")
    if len(data) <= 60000:
        os.write(write, data)
    else:
        feeder = os.fork()
        if feeder == 0:
            os.close(read)
            try:
                with os.fdopen(write, "wb") as file:
                    file.write(data)
            except OSError:
                pass
            os._exit(0)
    os.close(write)
    os.dup2(read, 0)
    done = os.dup(done_write)
    os.dup2(out_write, 1)
    os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
    keep = os.dup(done) if done == 3 else done
    os.dup2(keep, 3)
    os.closerange(4, 256)
    for kind, value in (
        (resource.RLIMIT_AS, limits["memory_limit_bytes"]),
        (resource.RLIMIT_CPU, int(limits["time_limit_s"]) + 1),
        (resource.RLIMIT_FSIZE, 16 * 2**20),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, MAX_PROCESSES),
    ):
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))
    for capability in range(LAST_CAPABILITY + 1):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    LIBC.capset(header, (ctypes.c_uint32 * 6)())


def untrusted(code: CodeType, test: dict, done_fd: int, ticket: str) -> None:
    """Run the program; exit codes and the ticket are read by the runner, which trusts neither alone."""
    sys.stdin = io.TextIOWrapper(io.FileIO(0, "r", closefd=False), encoding="utf-8", errors="replace")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8", errors="replace")
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="replace", write_through=True)
    sys.argv = ["program.py"]
    namespace = {"__name__": "__main__", "__builtins__": __builtins__}
    exit_now, write, flush = os._exit, os.write, sys.stdout.flush
    try:
        exec(code, namespace)
        if "code" in test:
            exec(compile(test["code"], "test.py", "exec", dont_inherit=True), namespace)
            write(done_fd, ticket.encode())
        flush()
        exit_now(0)
    except MemoryError:
        exit_now(MEMORY_STATUS)
    except SystemExit as error:
        flush()
        exit_now(0 if error.code in (None, 0) else 1)
    except BaseException as error:
        try:
            write(done_fd, f"{type(error).__name__}: {error}"[:500].encode("utf-8", "replace"))
            flush()
        finally:
            exit_now(1)


def clean(folder: str) -> None:
    """Nothing that a program wrote in `folder` reaches the next one."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)
        except OSError:
            pass


if __name__ == "__main__":
    serve(isolated=sys.argv[1] == "isolated")
