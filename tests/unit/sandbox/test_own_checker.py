"""A problem's own checker decides, and sees what a program cannot."""

import json

import pytest

from wmtp.errors import EvaluationError
from wmtp.sandbox.own_checker import CHECKER_LIMITS, Opinion, files_of_compiled, opinion_of_compiled, says_yes
from wmtp.sandbox.pool import isolation, run_tests
from wmtp.sandbox.worker import StalledError, Worker
from wmtp.types import IOTest, Limits, Program

ANY_ORDER = (
    "import sys\n"
    "given, expected, printed = (sorted(open(name).read().split()) for name in sys.argv[1:])\n"
    "print(float(expected == printed))\n"
)
TESTS = (IOTest("3\n", "1 2 3\n"), IOTest("2\n", "1 2\n"))


def verdicts(checker, *sources):
    programs = [Program(source, TESTS, Limits(4.0), name="task", own_checker=checker) for source in sources]
    return [(verdict.status, verdict.num_passed) for verdict in run_tests(programs, limits=Limits(), num_workers=2)]


def test_a_checker_decides_and_a_programs_own_failures_stay():
    found = verdicts(
        ANY_ORDER,
        "print(*range(int(input()), 0, -1))",
        "print(3, 1, 2)",
        "print()",
        "print(1 / 0)",
        "import os\nprint(*range(1, 1 + int(input())))\nopen('/tmp/expected.txt', 'w').write('x')",
        "import os\nprint(open('/tmp/expected.txt').read())",
    )
    failed = ("runtime_error", 0)
    assert found == [("passed", 2), ("wrong_answer", 1), ("wrong_answer", 0), failed, ("passed", 2), failed]


@pytest.mark.parametrize("checker", ["print(0)", "import nothing", "print(1"])
def test_a_checker_that_does_not_accept_the_expected_output_is_the_benchmarks_error(checker):
    with pytest.raises(EvaluationError, match="task: the checker does not accept the test's own output"):
        programs = [Program("print(1)", TESTS[:1], Limits(4.0), name="task", own_checker=checker)]
        run_tests(programs, limits=Limits(), num_workers=1)


@pytest.mark.parametrize("mode", ["bubblewrap", "none"])
def test_checkers_at_the_same_time_have_files_of_their_own(monkeypatch, mode):
    """Without isolation these are the machine's, where all sandboxes would meet."""
    monkeypatch.setattr("wmtp.sandbox.pool.isolation", lambda allow_unsafe=False: mode)
    slow = ANY_ORDER.replace("import sys\n", "import sys, time\ntime.sleep(0.3)\n")
    programs = [Program(f"print({n})", (IOTest(f"{n}\n", f"{n}\n"),), Limits(4.0), own_checker=slow) for n in range(4)]
    assert all(verdict.passed for verdict in run_tests(programs, limits=Limits(), num_workers=4))


def test_a_slow_machine_gives_a_checker_more_time():
    for factor in (1.0, 3.0):
        limits = Worker("none", time_factor=factor).checker_limits
        assert limits.time_limit_s == factor * CHECKER_LIMITS.time_limit_s
        assert limits.memory_limit_bytes == CHECKER_LIMITS.memory_limit_bytes


def test_a_pool_hands_its_factor_to_checkers(monkeypatch):
    """A checker that works for a second has a limit of a quarter, and a machine that is sixteen times as slow."""
    monkeypatch.setattr("wmtp.sandbox.worker.CHECKER_LIMITS", Limits(0.25))
    works = "import time\nwhile time.process_time() < 1:\n    pass\nprint(1)"
    program = Program("print(1)", TESTS[:1], Limits(4.0), name="task", own_checker=works)
    with pytest.raises(EvaluationError, match="does not accept"):
        run_tests([program], limits=Limits(), num_workers=1)
    (verdict,) = run_tests([program], limits=Limits(), num_workers=1, time_factor=16.0)
    assert verdict.passed


def test_a_sandbox_that_stalls_while_a_checker_runs_is_not_the_programs_doing(monkeypatch):
    real, asked = Worker._receive, []

    def receive(worker, patience_s):
        asked.append(patience_s)
        if len(asked) == 3:  # the isolation's probe, the program, its checker
            raise StalledError("it does not answer")
        return real(worker, patience_s)

    isolation()
    asked.append(0.0)
    monkeypatch.setattr(Worker, "_receive", receive)
    with pytest.raises(EvaluationError, match="task: the sandbox stalled while the checker ran"):
        program = Program("print(1, 2, 3)", TESTS[:1], Limits(4.0), name="task", own_checker=ANY_ORDER)
        run_tests([program], limits=Limits(), num_workers=1)


def test_an_exit_code_is_an_opinion():
    def opinion(code, said=""):
        return opinion_of_compiled({"status": "", "output": json.dumps([code, said])})

    assert opinion(0, "ok\n") == Opinion(True, False, "ok")
    assert [opinion(code).is_right for code in (1, 2, 3, 4, 7, 8, 50, 255, -11)] == 9 * [False]
    assert [opinion(code).is_broken for code in (1, 2, 3, 7, -11)] == [False, False, True, False, False]
    assert (opinion(-11).message, opinion(9).message) == ("signal 11", "exit code 9")
    assert opinion_of_compiled({"status": "timeout"}) == Opinion(False, False, "the checker ended by timeout")


def test_testlib_has_what_was_printed_before_what_was_expected():
    assert json.loads(files_of_compiled("binary", IOTest("in", "expected"), "printed")) == [
        "binary",
        "in",
        "printed",
        "expected",
    ]


def test_the_last_word_is_the_score():
    assert all(map(says_yes, ("1", "1.0\n", "ok 1", "100\n")))
    assert not any(map(says_yes, ("", "0", "0.5", "ok", "1 ok", "nan")))
