"""Programs that try to pass without solving, to hurt the host, or to learn what they must not know."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from wmtp.errors import EvaluationError
from wmtp.evaluation import sandbox
from wmtp.evaluation.checker import same_output
from wmtp.evaluation.sandbox import isolation, run_tests
from wmtp.types import AssertTest, IOTest, Limits, Program

SUM = tuple(IOTest(f"{i} 2 3\n", f"{i + 5}\n") for i in range(3))
SQUARE = (AssertTest("assert f(2) == 4\nassert f(3) == 9"),)
QUICK = Limits(time_limit_s=0.7, memory_limit_bytes=256 * 2**20, output_limit_bytes=2**16)

PROGRAMS = {
    "a right program": ("print(sum(map(int, input().split())))", SUM, "passed"),
    "a right function": ("def f(x):\n    return x * x", SQUARE, "passed"),
    "a wrong program": ("print(1)", SUM, "wrong_answer"),
    "a wrong function": ("def f(x):\n    return x", SQUARE, "wrong_answer"),
    "not Python": ("print((", SUM, "compile_error"),
    "a NUL byte": ("print(1)\0", SUM, "compile_error"),
    "a surrogate": ("print('\ud800')", SUM, "compile_error"),
    "prose": ("The answer is clear.", SUM, "compile_error"),
    "an exception": ("1 / 0", SUM, "runtime_error"),
    "a non-zero exit": ("print(5)\nexit(3)", SUM, "runtime_error"),
    "an endless loop": ("while True: pass", SUM, "timeout"),
    "a loop that ignores signals": (
        "import signal\nfor s in (1, 2, 14, 15, 24): signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
        SUM,
        "timeout",
    ),
    "a sleep": ("import time\ntime.sleep(60)", SUM, "timeout"),
    "waiting for more input": ("input()\ninput()", SUM, "runtime_error"),
    "stopping itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", SUM, "timeout"),
    "a memory bomb": ("x = 'a' * 10**10", SUM, "memory_limit"),
    "a slow memory bomb": ("x = []\nwhile True: x.append(' ' * 10**6)", SUM, "memory_limit"),
    "endless output": ("while True: print('x' * 1000)", SUM, "output_limit"),
    "endless errors": (
        "import sys\nfor _ in range(10**5): sys.stderr.write('x' * 100)\nprint(sum(map(int, input().split())))",
        SUM,
        None,
    ),
    "deep recursion": ("def f(): f()\nf()", SUM, "runtime_error"),
    "a segfault": ("import ctypes\nctypes.string_at(0)", SUM, "runtime_error"),
    "a fork bomb": ("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", SUM, "timeout"),
    "leaving before the tests": ("import os\nos._exit(0)", SQUARE, "wrong_answer"),
    "sys.exit(0) before the tests": ("import sys\nsys.exit(0)", SQUARE, "wrong_answer"),
    "an exit handler": ("import atexit, os\natexit.register(lambda: os._exit(0))\nraise ValueError", SQUARE, "runtime_error"),
    "an except hook": ("import sys, os\nsys.excepthook = lambda *a: os._exit(0)\nraise ValueError", SQUARE, "runtime_error"),
    "printing success": ("print('passed'); print('{\"finished\": true}')\nimport os\nos._exit(0)", SQUARE, "wrong_answer"),
    "writing to every descriptor": (
        "import os\nfor fd in range(2, 64):\n  try: os.write(fd, b'passed')\n  except OSError: pass\nos._exit(0)",
        SQUARE,
        "wrong_answer",
    ),
    "the host's files": ("print(open('/etc/passwd').read())", SUM, "runtime_error"),
    "writing to the system": ("open('/usr/lib/x', 'w')", SUM, "runtime_error"),
    "a full disk": ("f = open('/tmp/x', 'wb')\nwhile True: f.write(b'x' * 10**6)", SUM, "runtime_error"),
    "the network": ("import socket\nsocket.create_connection(('127.0.0.1', 1), timeout=0.2)", SUM, "runtime_error"),
    "another program": ("import os\nos.execv('/bin/sh', ['sh', '-c', 'echo 5'])", SUM, "wrong_answer"),
    "invalid UTF-8": ("import sys\nsys.stdout.buffer.raw.write(b'\\xff\\xfe')", SUM, "wrong_answer"),
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_verdicts(what):
    source, tests, status = PROGRAMS[what]
    (verdict,) = run_tests([Program(source, tests)], limits=QUICK, num_workers=1)
    assert verdict.status == (status or "passed"), verdict
    assert verdict.num_tests == len(tests) and (verdict.num_passed == len(tests)) == verdict.passed


def test_nobody_survives_and_nothing_is_left_on_the_host(tmp_path):
    marker = "7f3b9a_sandbox_marker"
    daemon = (
        f"import os, sys, time\n# {marker}\n"
        "for _ in range(3):\n"
        "  if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "      time.sleep(60)\n"
        "    os._exit(0)\n"
        "open('/tmp/left', 'w').write('x')\n"
        "print(sum(map(int, input().split())))"
    )
    looks = "import os\nprint(5 if os.listdir('/tmp') == [] else 0)"
    first, second = run_tests([Program(daemon, SUM[:1]), Program(looks, SUM[:1])], limits=QUICK, num_workers=1)
    assert first.passed and second.passed
    time.sleep(0.2)
    guests = [p for p in psutil.process_iter(["cmdline"]) if any("sandbox_guest" in part for part in p.info["cmdline"] or [])]
    assert not [p for p in guests if p.ppid() == os.getpid()]
    assert not Path("/tmp/left").exists()


def test_the_environment_the_parents_and_privileges_are_out_of_reach():
    secret = (
        "import os\nfound = []\n"
        "found += [v for v in os.environ.values() if 'secret' in v]\n"
        "for p in os.listdir('/proc'):\n"
        "  if p.isdigit() and p != os.readlink('/proc/self'):\n"
        "    for name in ('mem', 'environ'):\n"
        "      try:\n        open(f'/proc/{p}/{name}', 'rb').read(1); found.append((p, name))\n"
        "      except OSError: pass\n"
        "found += [line for line in open('/proc/self/status') if line.startswith('Cap') and int(line.split()[1], 16)]\n"
        "import signal\n"
        "for pid in (1, os.getppid()):\n"
        "  try: os.kill(pid, signal.SIGKILL)\n  except OSError: pass\n"
        "print(found or 5)"
    )
    os.environ["WMTP_TEST_SECRET"] = "secret"
    try:
        (verdict,) = run_tests([Program(secret, SUM[:1])], limits=QUICK, num_workers=1)
    finally:
        del os.environ["WMTP_TEST_SECRET"]
    assert verdict.passed, verdict


def test_expected_outputs_never_enter_the_sandbox():
    request = sandbox._request(Program("x", (IOTest("in", "the expected output"),)), Limits())
    assert "the expected output" not in str(request)


def test_state_does_not_pass_from_one_test_or_program_to_the_next():
    sticky = "import builtins\nprint(getattr(builtins, 'seen', 0)); builtins.seen = 1"
    zero = (IOTest("", "0"), IOTest("", "0"))
    assert all(v.passed for v in run_tests([Program(sticky, zero)] * 3, limits=QUICK, num_workers=1))


def test_order_is_kept_over_workers_and_every_verdict_is_announced():
    programs = [Program(f"print({i})", (IOTest("", str(i if i % 3 else -1)),)) for i in range(30)]
    seen = []
    verdicts = run_tests(programs, limits=QUICK, num_workers=3, on_verdict=lambda i, v: seen.append((i, v)))
    assert [v.passed for v in verdicts] == [i % 3 != 0 for i in range(30)]
    assert sorted(seen, key=lambda item: item[0]) == list(enumerate(verdicts))


def test_a_worker_killed_from_outside_is_replaced():
    programs = [Program("import time\ntime.sleep(0.05)\nprint(1)", (IOTest("", "1"),))] * 20
    me = psutil.Process()

    def kill_some():
        time.sleep(0.4)
        for child in me.children(recursive=True):
            child.kill()

    thread = threading.Thread(target=kill_some)
    thread.start()
    verdicts = run_tests(programs, limits=Limits(), num_workers=1)
    thread.join()
    assert all(v.passed for v in verdicts)


def test_large_input_and_a_refused_source():
    big = "1 " * 10**6
    program = Program("print(len(input().split()))", (IOTest(big, "1000000"),))
    assert run_tests([program], limits=Limits(), num_workers=1)[0].passed
    (verdict,) = run_tests([Program("#" * (2**20 + 1), SUM)], limits=Limits(), num_workers=1)
    assert verdict.status == "compile_error" and "bytes of source" in verdict.detail
    with pytest.raises(EvaluationError, match="without tests"):
        run_tests([Program("print(1)", ())], limits=Limits(), num_workers=1)


@pytest.mark.parametrize("mode", ["bubblewrap", "unshare"])
def test_both_kinds_of_isolation_work_here(mode, monkeypatch):
    assert sandbox._problem_with(mode) == ""
    monkeypatch.setattr(sandbox, "isolation", lambda allow_unsafe=False: mode)
    source = "import os\nprint(5 if not os.path.exists('/etc/passwd') else 0)"
    assert run_tests([Program(source, SUM[:1])], limits=QUICK, num_workers=1)[0].passed


def test_without_isolation_it_refuses_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sandbox, "_problem_with", lambda mode: "not here")
    with pytest.raises(EvaluationError, match="Install bubblewrap"):
        isolation()
    assert isolation(allow_unsafe=True) == "none"
    (verdict,) = run_tests([Program("print(5)", SUM[:1])], limits=QUICK, num_workers=1, allow_unsafe=True)
    assert verdict.passed


def test_an_unprivileged_user_is_isolated_too():
    """As root, become nobody; otherwise this process already is unprivileged."""
    code = "from wmtp.evaluation.sandbox import isolation; print(isolation())"
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    if prefix and not os.access(sys.executable, os.X_OK):
        prefix = []
    readable = subprocess.run([*prefix, sys.executable, "-c", "import wmtp"], capture_output=True, check=False)
    if prefix and readable.returncode != 0:
        # this interpreter lives in a folder that nobody may read: there is nothing to run as that user
        assert b"Permission denied" in readable.stderr or b"No module" in readable.stderr
        return
    result = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() in ("bubblewrap", "unshare"), result.stderr


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("1 2\n3", "1  2 3\n", True),
        ("YES", "yes", True),
        ("1 2", "1 2 3", False),
        ("0.3333333", "0.333333333", True),
        ("1.0", "1", False),
        ("1.00002", "1.0", False),
        ("1000000000000000000001", "1000000000000000000002", False),
        ("007", "7", True),
        ("nan", "1.0", False),
        ("1e400", "inf", True),
        ("", "", True),
    ],
)
def test_checker(printed, expected, same):
    assert same_output(printed, expected) is same
