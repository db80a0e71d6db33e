"""A verdict is a function of the program: it does not change when every core is busy."""

import os
import subprocess
import sys

import pytest

from wmtp.sandbox.pool import run_tests
from wmtp.types import AssertTest, IOTest, Limits, Program

LIMITS = Limits(time_limit_s=0.6)
ONE = (IOTest("", "1"),)
WORK = """
import time
def work(s):
    start = time.process_time()
    while time.process_time() - start < s: pass
    return 1
"""

PROGRAMS = {
    "works half of its time": (WORK + "print(work(0.3))", ONE, "passed"),
    "sleeps half of its time": ("import time\ntime.sleep(0.3)\nprint(1)", ONE, "passed"),
    "works and sleeps": (WORK + "work(0.15)\ntime.sleep(0.15)\nprint(1)", ONE, "passed"),
    "works in a thread": (WORK + "import threading\nthreading.Thread(target=lambda: print(work(0.3))).start()", ONE, "passed"),
    "works in a process": (WORK + "import os\nif os.fork() == 0: work(0.3); os._exit(0)\nos.wait()\nprint(1)", ONE, "passed"),
    "a function that works": (WORK, (AssertTest("assert work(0.15) == 1"), AssertTest("assert work(0.15) == 1")), "passed"),
    "a test that works": ("def f(): return 1", (AssertTest(WORK + "assert work(0.3) == f()"),), "passed"),
    "works twice its time": (WORK + "print(work(1.2))", ONE, "timeout"),
    "sleeps twice its time": ("import time\ntime.sleep(1.2)\nprint(1)", ONE, "timeout"),
    "works in too many processes": (
        WORK + "import os\nfor _ in range(8):\n    if os.fork() == 0: work(0.5); os._exit(0)\n"
        "for _ in range(8): os.wait()\nprint(1)",
        ONE,
        "timeout",
    ),
    "functions that work too long together": (WORK, (AssertTest("assert work(0.4) == 1"),) * 3, "timeout"),
    "a test that works too long": ("def f(): return 1", (AssertTest(WORK + "assert work(1.2) == f()"),), "timeout"),
}


@pytest.fixture
def busy():
    """A process that never rests on each core."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    yield
    for burner in burners:
        burner.kill()
        burner.wait()


def statuses(num_workers):
    programs = [Program(source, tests) for source, tests, _ in PROGRAMS.values()]
    verdicts = run_tests(programs * 2, limits=LIMITS, num_workers=num_workers)
    assert [v.status for v in verdicts[: len(programs)]] == [v.status for v in verdicts[len(programs) :]]
    return dict(zip(PROGRAMS, (v.status for v in verdicts), strict=False))


def test_eight_workers_a_core_on_a_busy_machine(busy):
    assert statuses(8 * len(os.sched_getaffinity(0))) == {what: status for what, (_, _, status) in PROGRAMS.items()}
