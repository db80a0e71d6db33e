"""What the sandbox says of ordinary programs, and how it runs them. Attacks are in `test_sandbox_abuse`."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import pytest

from tests.workspaces import PATIENCE_S
from wmtp.errors import EvaluationError
from wmtp.sandbox import isolation as kinds
from wmtp.sandbox import pool as sandbox
from wmtp.sandbox import worker
from wmtp.sandbox.machine import machine_factor
from wmtp.sandbox.pool import Pool, isolation, run_tests
from wmtp.types import AssertTest, IOTest, Limits, Program

pytestmark = pytest.mark.slow

SUM = tuple(IOTest(f"{i} 2 3\n", f"{i + 5}\n") for i in range(3))
SQUARE = (AssertTest("assert f(2) == 4\nassert f(3) == 9"),)
QUICK = Limits(time_limit_s=0.7, memory_limit_bytes=256 * 2**20, output_limit_bytes=2**16)

PROGRAMS = {
    "a right program": ("print(sum(map(int, input().split())))", SUM, "passed"),
    "a right function": ("def f(x):\n    return x * x", SQUARE, "passed"),
    "a wrong program": ("print(1)", SUM, "wrong_answer"),
    "a wrong function": ("def f(x):\n    return x", SQUARE, "wrong_answer"),
    "not Python": ("print((", SUM, "compile_error"),
    "a function that is not Python": ("def f(x:", SQUARE, "compile_error"),
    "a NUL byte": ("print(1)\0", SUM, "compile_error"),
    "a surrogate": ("print('\ud800')", SUM, "compile_error"),
    "prose": ("The answer is clear.", SUM, "compile_error"),
    "an exception": ("1 / 0", SUM, "runtime_error"),
    "a non-zero exit": ("print(5)\nexit(3)", SUM, "runtime_error"),
    "an endless loop": ("while True: pass", SUM, "timeout"),
    "waiting for more input": ("input()\ninput()", SUM, "runtime_error"),
    "endless errors": (
        "import sys\nfor _ in range(10**5): sys.stderr.write('x' * 100)\nprint(sum(map(int, input().split())))",
        SUM,
        None,
    ),
    "deep recursion": ("def f(): f()\nf()", SUM, "runtime_error"),
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_verdicts(what):
    source, tests, status = PROGRAMS[what]
    (verdict,) = run_tests([Program(source, tests)], limits=QUICK, num_workers=1)
    assert verdict.status == (status or "passed"), verdict
    assert verdict.num_tests == len(tests) and (verdict.num_passed == len(tests)) == verdict.passed


def test_order_is_kept_over_workers_and_every_verdict_is_announced():
    programs = [Program(f"print({i})", (IOTest("", str(i if i % 3 else -1)),)) for i in range(30)]
    seen = []
    verdicts = run_tests(programs, limits=QUICK, num_workers=3, on_verdict=lambda i, v: seen.append((i, v)))
    assert [v.passed for v in verdicts] == [i % 3 != 0 for i in range(30)]
    assert sorted(seen, key=lambda item: item[0]) == list(enumerate(verdicts))


def test_a_pool_waits_for_nobody_but_at_its_end():
    """A verdict is there when its own program has ended, whatever else has been submitted; sandboxes go on to the next."""
    slow, endless = (
        Program(f"import time\ntime.sleep({seconds})\nprint(1)", (IOTest("", "1"),), Limits(time_limit_s=600.0))
        for seconds in (1.5, 500)
    )
    quick = [Program(f"print({i})", (IOTest("", str(i)),)) for i in range(8)]
    seen, all_quick = [], threading.Event()
    with pytest.raises(KeyboardInterrupt), Pool(limits=QUICK, num_workers=2) as pool:
        pool.submit(endless, lambda verdict: seen.append(("endless", verdict.status)))
        for i, program in enumerate(quick):
            pool.submit(program, lambda verdict, i=i: (seen.append((i, verdict.status)), len(seen) == 8 and all_quick.set()))
        assert all_quick.wait(300) and sorted(seen) == [(i, "passed") for i in range(8)]
        raise KeyboardInterrupt
    with Pool(limits=QUICK, num_workers=2) as pool:
        pool.submit(slow, lambda verdict: seen.append(("slow", verdict.status)))
    assert seen[-1] == ("slow", "passed")


def test_a_pool_starts_no_more_sandboxes_than_there_is_work_for(monkeypatch):
    real, started = sandbox.Worker, []
    monkeypatch.setattr(sandbox, "Worker", lambda *how, **keys: started.append(how) or real(*how, **keys))
    assert all(v.passed for v in run_tests([Program("print(5)", SUM[:1])] * 3, limits=QUICK, num_workers=64))
    assert len(started) == 3
    with Pool(limits=QUICK, num_workers=64):
        pass
    assert len(started) == 3


def test_a_sandbox_that_cannot_be_made_ends_the_pool_with_the_reason(monkeypatch):
    monkeypatch.setattr(sandbox, "Worker", lambda *how: None)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        run_tests([Program("print(5)", SUM[:1])] * 3, limits=QUICK, num_workers=2)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_ends_what_still_runs(error):
    endless = Program("import time\ntime.sleep(500)", (IOTest("", "1"),), Limits(time_limit_s=600.0))
    before = {thread.ident for thread in threading.enumerate()}

    def fails(verdict):
        raise error("in the middle")

    for submit_one in (True, False):
        with pytest.raises(error, match="in the middle"), Pool(limits=QUICK, num_workers=2) as pool:
            pool.submit(endless, lambda verdict: None)
            if submit_one:
                pool.submit(Program("print(5)", SUM[:1]), fails)
            else:
                raise error("in the middle")
        assert {thread.ident for thread in threading.enumerate()} <= before


def test_large_input_and_a_refused_source():
    big = "1 " * 10**6
    program = Program("print(len(input().split()))", (IOTest(big, "1000000"),))
    assert run_tests([program], limits=Limits(), num_workers=1)[0].passed
    (verdict,) = run_tests([Program("#" * (2**20 + 1), SUM)], limits=Limits(), num_workers=1)
    assert verdict.status == "compile_error" and "bytes of source" in verdict.detail
    with pytest.raises(EvaluationError, match="without tests"):
        run_tests([Program("print(1)", ())], limits=Limits(), num_workers=1)


def test_time_limits_are_scaled_to_the_machine():
    program = Program("import time\ntime.sleep(0.5)\nprint(1)", (IOTest("", "1"),), Limits(time_limit_s=0.3))
    statuses = [run_tests([program], limits=Limits(), num_workers=1, time_factor=factor)[0].status for factor in (1.0, 4.0)]
    assert statuses == ["timeout", "passed"]


def test_a_busy_machine_is_not_a_slower_one():
    """Two measurements beside four processes that keep all cores busy: by the clock they would be apart by a factor."""
    idle = machine_factor()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        assert 1.0 <= machine_factor() < 2 * idle
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.parametrize("mode", ["bubblewrap", "unshare"])
def test_both_kinds_of_isolation_work_here(mode, monkeypatch):
    assert kinds.problem_with(mode) == ""
    monkeypatch.setattr(sandbox, "isolation", lambda allow_unsafe=False: mode)
    source = "import os\nprint(5 if not os.path.exists('/etc/passwd') else 0)"
    assert run_tests([Program(source, SUM[:1])], limits=QUICK, num_workers=1)[0].passed


def test_without_isolation_it_refuses_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr(kinds, "problem_with", lambda mode: "not here")
    with pytest.raises(EvaluationError, match="Install bubblewrap"):
        isolation()
    assert isolation(allow_unsafe=True) == "none"
    (verdict,) = run_tests([Program("print(5)", SUM[:1])], limits=QUICK, num_workers=1, allow_unsafe=True)
    assert verdict.passed


RIGHT, DEFINES = "def f(x):\n    return x * x", ("f",)
DEFECTS = {
    "a module that is not there": ("import nowhere_to_be_found\nassert f(2) == 4", "imports nowhere_to_be_found"),
    "one in a function": ("def check(c):\n    from nowhere import x\n    assert c(2) == 4\ncheck(f)", "imports nowhere"),
    "a name that nobody defines": ("assert f(2) == 4\nassert g(2) == 4", "asks for g"),
    "one in a function, misspelt": ("def check(c):\n    assert c(2) == 4\n    chekc(c)\ncheck(f)", "asks for chekc"),
    "no Python": ("assert f(2) ==", "no Python"),
}


@pytest.mark.parametrize("what", DEFECTS)
def test_a_defect_of_the_test_is_an_error_that_names_the_task(what):
    code, words = DEFECTS[what]
    program = Program(RIGHT, (AssertTest(code),), name="task 7", defines=DEFINES)
    with pytest.raises(EvaluationError, match=f"^task 7: .*{words}"):
        run_tests([program], limits=QUICK, num_workers=1)


FAULTS = {
    "an import of its own": "def f(x):\n    import nowhere_to_be_found",
    "a name of its own": "def f(x):\n    return g(x)",
    "an import error by hand": "def f(x):\n    raise ModuleNotFoundError(name='numpy')",
    "not defining what it has to": "def g(x):\n    return x",
    "a message that cannot be printed": "class A:\n    def __repr__(self): return 1 / 0\ndef f(x):\n    return A()",
    "a message that ends the program": "import os\nclass A:\n    def __str__(self): os._exit(0)\n    __repr__ = __str__\n"
    "def f(x):\n    return A()",
    "a message that never ends": "class A:\n    def __str__(self):\n        while True: pass\n    __repr__ = __str__\n"
    "def f(x):\n    return A()",
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_programs_own_faults_end_nothing(what):
    tests = (AssertTest("assert f(2) == 4, f(2)\nassert f(3) == 9, str(f(3))"),)
    programs = [Program(source, tests, defines=DEFINES) for source in (FAULTS[what], RIGHT)]
    wrong, right = run_tests(programs, limits=QUICK, num_workers=1)
    assert wrong.status in ("wrong_answer", "runtime_error", "timeout") and right.passed


def test_a_sandbox_that_never_starts_says_why_and_for_which_task(monkeypatch):
    monkeypatch.setattr(worker, "command", lambda *how: ["sh", "-c", "echo no such luck >&2; exit 1"])
    with pytest.raises(EvaluationError, match=r"^task 3: the sandbox .* could not run it: .*no such luck"):
        run_tests([Program(RIGHT, SQUARE, name="task 3")], limits=QUICK, num_workers=1)


def test_an_isolation_that_does_not_answer_is_a_problem_in_one_line(monkeypatch):
    monkeypatch.setattr(worker, "command", lambda *how: ["sh", "-c", "echo still mounting >&2; exec sleep 600"])
    monkeypatch.setattr(worker, "STALLED_S", 0.5)
    monkeypatch.setattr(worker, "WALL_FACTOR", 0)
    kinds.problem_with.cache_clear()
    try:
        assert kinds.problem_with("unshare") == "it does not answer: still mounting"
    finally:
        kinds.problem_with.cache_clear()


FILLED_MEANWHILE = """
import os, time
read, write = os.pipe()
for _ in range(6):
    if os.fork() == 0:
        os.read(read, 1)
        kept = b"x" * (80 * 2**20)
        time.sleep(0.3)
        os._exit(0)
def f(x):
    if x == 2:
        os.write(write, b"x" * 6)
    else:
        for _ in range(6): os.wait()
    return x * x
"""


def test_memory_is_looked_at_while_the_test_works():
    """A program's children take it, and give it back, between two calls of the program's function."""
    tests = (AssertTest("import time\nassert f(2) == 4\ntime.sleep(1.5)\nassert f(3) == 9"),)
    programs = [Program(FILLED_MEANWHILE.replace("80", each), tests) for each in ("80", "8")]
    limits = Limits(time_limit_s=10.0, memory_limit_bytes=256 * 2**20)
    assert [verdict.status for verdict in run_tests(programs, limits=limits, num_workers=1)] == ["memory_limit", "passed"]


HELD_FOR_A_MOMENT = "def f(x):\n    held = b'x' * (200 * 2**20)\n    del held\n    return x * x\n"


@pytest.mark.parametrize("test", ["assert f(2) == 4", "v = f(2)\nassert isinstance(v, int)"])
def test_memory_that_nobody_saw_counts(test):
    """It is given back before anybody looks; a busy machine looks even later, and changes no verdict."""
    limits = Limits(time_limit_s=10.0, memory_limit_bytes=128 * 2**20)
    verdicts = run_tests([Program(HELD_FOR_A_MOMENT, (AssertTest(test),))] * 5, limits=limits, num_workers=1)
    assert {verdict.status for verdict in verdicts} == {"memory_limit"}


def test_a_sandbox_that_is_stopped_at_any_moment_ends():
    """Also while it starts: what it has started by then waits for nobody, and holds no pipe open."""
    endless = Program("import time\ntime.sleep(500)", (IOTest("", ""),), Limits(time_limit_s=600.0))

    def work(sandbox):
        try:
            with contextlib.suppress(EvaluationError):
                sandbox.run_with_retries(endless)
        finally:
            sandbox.close()

    for tick in range(40):
        one = worker.Worker(isolation())
        thread = threading.Thread(target=work, args=(one,), daemon=True)
        thread.start()
        time.sleep(tick * 0.0015)
        one.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), tick
