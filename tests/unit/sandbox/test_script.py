"""Programs on standard input behave as `python3 program.py < file` does: the oracle is that command, run here."""

import signal
import subprocess
import sys

import pytest

from tests.unit.sandbox.scripts import SCRIPTS
from wmtp.sandbox.pool import run_tests
from wmtp.types import IOTest, Limits, Program

pytestmark = pytest.mark.slow

LIMITS = Limits(time_limit_s=5.0)
STDIN = "3 4\n5\n"


def by_hand(source, folder):
    """Exit code and output of the real command."""
    (folder / "program.py").write_text(source)
    (folder / "input").write_text(STDIN)
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONIOENCODING": "utf-8:strict"}
    with (folder / "input").open() as stdin:
        done = subprocess.run(
            [sys.executable, "program.py"],
            stdin=stdin,
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            check=False,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a job in the background ignores
        )
    return done.returncode, done.stdout


@pytest.mark.parametrize("what", SCRIPTS)
def test_as_by_hand(what, tmp_path):
    code, printed = by_hand(SCRIPTS[what], tmp_path)
    tests = (IOTest(STDIN, printed), IOTest(STDIN, "something else"))
    verdict, other = run_tests([Program(SCRIPTS[what], (test,)) for test in tests], limits=LIMITS, num_workers=1)
    assert (verdict.status == "passed") == (code == 0), (code, printed, verdict)
    assert other.status == ("wrong_answer" if code == 0 else "runtime_error")


def test_what_is_waited_for_at_the_end_counts_against_the_limits():
    ends = {
        "a thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()",
        "an exit handler": "import atexit, time\natexit.register(time.sleep, 60)",
        "__del__": "class A:\n    def __del__(self):\n        while True: pass\na = A()",
    }
    programs = [Program(f"print(1)\n{source}", (IOTest("", "1"),), Limits(time_limit_s=0.5)) for source in ends.values()]
    assert [v.status for v in run_tests(programs, limits=LIMITS, num_workers=2)] == ["timeout"] * 3


def test_memory_is_what_is_used_not_what_is_reserved():
    used = "x = b'x' * (200 * 2**20)\nprint(1)"
    reserved = "import mmap\nx = mmap.mmap(-1, 2**29)\nprint(1)"
    briefly = "x = b'x' * (200 * 2**20)\ndel x\nprint(1)"
    programs = [Program(source, (IOTest("", "1"),), Limits(memory_limit_bytes=2**27)) for source in (used, reserved, briefly)]
    statuses = [v.status for v in run_tests(programs, limits=LIMITS, num_workers=1)]
    assert statuses == ["memory_limit", "passed", "memory_limit"]


def test_the_order_of_a_set_is_a_function_of_the_program():
    source = "print(list({'a', 'b', 'c', 'd', 'e', 'f'}), hash('x'))\nimport subprocess, sys\n"
    source += "print(subprocess.run([sys.executable, '-c', 'print(hash(\"x\"))'], capture_output=True, text=True).stdout)"
    seeded = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env={"PYTHONHASHSEED": "0"}, check=True
    ).stdout
    verdicts = run_tests([Program(source, (IOTest("", seeded),))] * 4, limits=LIMITS, num_workers=2)
    assert all(verdict.passed for verdict in verdicts)
