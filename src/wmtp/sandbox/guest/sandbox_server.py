"""Runs inside the sandbox, with nothing but the standard library: takes programs and tests from the host, and answers verdicts.

Processes: the server (this file's main), the first of the sandbox, which also executes assert tests (see `sandbox_calls`);
the spawner, which candidates are forked from (see `sandbox_spawner`); and a candidate per test, or per program for assert
tests, which alone runs untrusted code. No process that has seen a test is an ancestor of a candidate.

Protocol on file descriptors 0 and 1: messages as `sandbox_calls.pack` makes them, read byte-exactly. A program with its
assert tests is one message, answered by one verdict. Of standard input tests the host judges the output, so the program
comes with the first input, every answer is followed by the next, and the last is known by `more`, or is a `stop`.
"""

import _socket
import fcntl
import gc
import os
import resource
import signal
import sys
import time
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sandbox_calls
from sandbox_clock import Clock, alarm, die_of
from sandbox_memory import Guard
from sandbox_program import ASKED, NATIVE, SCRIPT, message_of
from sandbox_spawner import FIRST_OWN, LIBC, PR_SET_DUMPABLE, start_spawner
from sandbox_tests import UnfitTest, visible_defect
from sandbox_values import NotAValueError
from sandbox_watch import Ended, Spawning, Watch

SERVER_EXTRA_BYTES = 2**29
SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008
"""Of a memory file: F_SEAL_SEAL, SHRINK, GROW and WRITE."""


def serve(isolated: bool) -> None:
    """Run programs until the host closes the channel."""
    guard = Guard(FIRST_OWN)
    orders, pid = start_spawner(isolated, guard)
    spawning = Spawning(orders, {str(os.getpid()), str(pid)} if isolated else None, guard)
    LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 -- what tests print; messages go to the descriptor itself
    warm_up()
    die_of(signal.SIGPROF)
    gc.freeze()
    while True:
        program = receive()
        limit_memory(program["limits"]["memory_limit_bytes"] + SERVER_EXTRA_BYTES)
        if "tests" in program:
            run_asserts(program, spawning)
        else:
            run_inputs(program, spawning)


def limit_memory(size: int) -> None:
    """What a program answers must not grow without bounds in this process either."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))


def warm_up() -> None:
    """Do what an assert test needs once, so that the first program is not slower than the others."""
    answers = iter(({"f": ["value", {"mine": 0}]}, {"value": {"tuple": [4, "x", 1.5]}}))

    def exchange(message: dict) -> Any:
        sandbox_calls.pack(message)
        return next(answers)

    sandbox_calls.Examiner(exchange).run("import math\nassert f([2], {'a': (1, None)}) == (4, 'x', 1.5)")


def send(message: dict) -> None:
    sandbox_calls.write_message(1, message)


def receive() -> dict:
    """The host's next message; there is nothing more to do once it has closed the channel."""
    message: dict | None = sandbox_calls.read_message(0)
    if message is None:
        os._exit(0)
    return message


def memory_file(text: str) -> int:
    """A descriptor that `text` can be read from, by whoever gets it, and nothing written to."""
    data = memoryview(text.encode("utf-8", "surrogatepass"))
    fd = os.memfd_create("text", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd


def start_candidate(program: dict, stdin: str, spawning: Spawning, kind: int) -> Watch:
    out_read, out_write = os.pipe()
    os.fchmod(out_write, 0o666)  # some programs open /dev/stdout
    ours, theirs = _socket.socketpair()
    given = [
        memory_file(stdin),
        out_write,
        theirs.detach(),
        memory_file(program["source"]),
    ]
    try:
        spawning.start(given, program["limits"], kind)
    finally:
        for fd in given:
            os.close(fd)
    return Watch(spawning, out_read, ours.detach(), program["limits"])


def run_inputs(program: dict, spawning: Spawning) -> None:
    """Standard input tests: a new process for each; how it ended and what it printed."""
    test = program
    while "stop" not in test:
        started = time.monotonic()
        watch = start_candidate(program, test["stdin"], spawning, SCRIPT)
        ended = watch.wait_for_end()
        watch.close()
        output = bytes(watch.output[: program["limits"]["output_limit_bytes"]]).decode("utf-8", "replace")
        send({"status": ended.status, "detail": ended.detail, "output": output, "wall_s": time.monotonic() - started})
        if not test["more"]:
            return
        test = receive()


def run_asserts(program: dict, spawning: Spawning) -> None:
    """Assert tests, examined from outside and run natively; the rule is ADR 7's.

    Natively is second: it brings the tests into the program's process, where they can be read.
    """
    began = time.monotonic()
    status, detail, passed, is_enough = examined(program, spawning)
    if status in ("", "unverified", "wrong_answer", "runtime_error") and not is_enough:
        failed = run_natively(program, spawning)
        if failed is not None:
            passed = min(passed, len(program["tests"]) - 1)
        status, detail = agreed(program, status, detail, failed)
    send({"status": status, "detail": detail, "passed": passed, "wall_s": time.monotonic() - began})


def agreed(program: dict, status: str, detail: str, failed: Ended | None) -> tuple[str, str]:
    """Status and detail of what was seen from outside, and of how it failed natively, if it did."""
    if status in ("wrong_answer", "runtime_error"):  # what was found first says more
        return (status, detail) if failed is not None else ("suspicious", f"it passes only in its own process: {detail}")
    if failed is None:
        return status, detail
    broken = visible_defect(program["defines"], [*judges_own(program), *program["tests"]]) if status else ""
    return ("sandbox_error", broken) if broken else (failed.status or "wrong_answer", failed.detail)


def judges_own(program: dict) -> list[str]:
    """Code that comes before the tests."""
    return [code for code in (program["imports"], program["helpers"]) if code]


def examined(program: dict, spawning: Spawning) -> tuple[str, str, int, bool]:
    """Status (empty: all passed; `unverified`: a test passes what cannot be carried), detail, how many tests passed, and
    whether all was so plain that it is the same natively.
    """
    passed, status, detail = 0, "", ""
    watch = start_candidate(program, "", spawning, ASKED)
    spawning.guard.begin(program["limits"]["memory_limit_bytes"])
    examiner = sandbox_calls.Examiner(watch.exchange, program["defines"])
    try:
        for code in judges_own(program):
            examine(examiner, code, watch.clock)
        for code in program["tests"]:
            examine(examiner, code, watch.clock)
            passed += 1
        watch.require_memory()
    except Ended as ended:
        status, detail = ended.status or "wrong_answer", ended.detail
    watch.close()  # where the spawner has died, there is no verdict
    spawning.guard.begin(0)
    return status, detail, len(program["tests"]) if status == "unverified" else passed, examiner.builtins is not None


def run_natively(program: dict, spawning: Spawning) -> Ended | None:
    """As the field's own harnesses do, the tests in the program's namespace; how they failed, if they did."""
    watch = start_candidate(program, "", spawning, NATIVE)
    try:
        reply = watch.exchange([*filter(None, [program["helpers"]]), *program["tests"]])
        watch.require_memory()
        return None if reply == {"done": True} else Ended("runtime_error", "no answer")
    except Ended as ended:
        return ended
    except NotAValueError as error:
        return Ended("runtime_error", str(error))
    finally:
        watch.close()


def examine(examiner: sandbox_calls.Examiner, source: str, clock: Clock) -> None:
    """Execute the test here, against the candidate.

    Raises:
        Ended: it did not reach its end; says how.
    """
    with alarm(clock, lambda: Ended("timeout")):
        try:
            examiner.run(source)
        except UnfitTest as error:
            raise Ended("sandbox_error", str(error)[:500]) from None
        except sandbox_calls.CannotCarry as error:
            raise Ended("unverified", str(error)[:500]) from None
        except MemoryError:
            raise Ended("memory_limit") from None
        except AssertionError as error:
            raise Ended("wrong_answer", message_of(error)) from None
        except Exception as error:
            raise Ended("runtime_error", message_of(error)) from None
        except SystemExit:
            raise Ended("wrong_answer", "the test was left before its end") from None


if __name__ == "__main__":
    sys.path += sys.argv[2:]
    serve(isolated=sys.argv[1] == "isolated")
