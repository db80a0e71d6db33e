"""Programs that try to pass without solving, to hurt the host, or to learn what they must not know.

Every attack asserts its verdict and that the host is unharmed: no process, file, message or connection of it is left.
As root every attack runs by each kind of isolation as two other users, without privileges.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.unit.sandbox.attacks import ATTACKS, MARK, SECRET, SUM
from tests.unit.sandbox.identities import become
from tests.workspaces import PATIENCE_S, PROJECT, wait_for
from wmtp.sandbox import pool as sandbox
from wmtp.sandbox.isolation import MODES
from wmtp.sandbox.pool import run_tests
from wmtp.types import IOTest, Limits, Program

pytestmark = pytest.mark.slow

QUICK = Limits(time_limit_s=0.7, memory_limit_bytes=256 * 2**20, output_limit_bytes=2**16)
PATIENT = replace(QUICK, time_limit_s=30)
"""For a program that gives all of its processor away, and gets what a busy machine has left over."""


def allowed(expected):
    """`suspicious` is how a wrong answer is called that passes in the program's own process."""
    expected = expected if isinstance(expected, tuple) else (expected,)
    return {*expected, *(("suspicious",) if {"wrong_answer", "runtime_error"} & {*expected} else ())}


class Host:
    """What attacks may not change, and what they may not leave behind."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.chmod(0o777)
        self.canary = self.folder / "canary"
        self.canary.write_text("unharmed")
        self.canary.chmod(0o666)
        self.listeners = [socket.socket(), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
        for listener, address in zip(self.listeners, (("127.0.0.1", 0), str(self.folder / "socket"), f"\0{MARK}"), strict=True):
            listener.bind(address)
            listener.listen()
            listener.setblocking(False)
        self.peer = subprocess.Popen(["sleep", "600"], env={"SECRET": SECRET})
        self.before = self.state()

    def fill_in(self, source):
        names = {
            "@HOST@": str(self.folder),
            "@PORT@": str(self.listeners[0].getsockname()[1]),
            "@PYTHON@": str(Path(sys.base_prefix).resolve()),
            "@ADD_KEY@": "217" if os.uname().machine == "aarch64" else "248",
            "@IO_SETUP@": "0" if os.uname().machine == "aarch64" else "206",
        }
        for name, value in names.items():
            source = source.replace(name, value)
        return source

    def state(self):
        temporary = {p.name for p in Path("/tmp").iterdir() if not p.name.startswith("pytest")}
        return self.canary.read_text(), sorted(p.name for p in self.folder.iterdir()), temporary - {"left", "pickled"}

    def assert_unharmed(self):
        canary, files, _ = self.state()
        assert (canary, files) == self.before[:2]
        assert not Path("/tmp/left").exists() and not Path("/tmp/pickled").exists()
        assert self.peer.poll() is None
        for listener in self.listeners:
            with pytest.raises(BlockingIOError):
                listener.accept()
        wait_for(lambda: not self.guests(), PATIENCE_S, "the sandboxes' end")

    @staticmethod
    def guests():
        """Processes of this test's sandboxes."""
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                command = process.cmdline()
            except psutil.Error:
                continue
            if any("sandbox_server" in part for part in command) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(command))
        return found

    def close(self):
        for listener in self.listeners:
            listener.close()
        self.peer.kill()
        self.peer.wait()


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    made = Host(tmp_path_factory.mktemp("host"))
    os.environ["WMTP_TEST_SECRET"] = SECRET
    yield made
    del os.environ["WMTP_TEST_SECRET"]
    made.close()


@pytest.mark.parametrize("what", ATTACKS)
def test_attack(what, host):
    source, tests, expected = ATTACKS[what]
    (verdict,) = run_tests([Program(host.fill_in(source), tests)], limits=QUICK, num_workers=1)
    assert verdict.status in allowed(expected), verdict
    assert verdict.passed == (verdict.num_passed == len(tests))
    host.assert_unharmed()


def test_the_page_tells_how_many_there_are():
    assert f"holds {len(ATTACKS)} attacks" in (PROJECT / "docs/evaluation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("mode", MODES)
def test_all_attacks_in_one_sandbox_after_another(mode, host, monkeypatch):
    """One warm interpreter sees them all, and a right program after each still passes, by each kind of isolation."""
    monkeypatch.setattr(sandbox, "isolation", lambda allow_unsafe=False: mode)
    right = Program("print(sum(map(int, input().split())))", SUM)
    programs = [one for source, tests, _ in ATTACKS.values() for one in (Program(host.fill_in(source), tests), right)]
    verdicts = run_tests(programs, limits=QUICK, num_workers=2)
    wrong = {
        what: verdict
        for (what, (_, _, expected)), verdict in zip(ATTACKS.items(), verdicts[::2], strict=True)
        if verdict.status not in allowed(expected)
    }
    assert wrong == {}
    assert all(verdict.passed for verdict in verdicts[1::2])
    host.assert_unharmed()


def test_state_does_not_pass_from_one_sample_to_the_next():
    sticky = (
        "import builtins, os\nseen = getattr(builtins, 'seen', 0) or os.listdir('/tmp') or os.listdir('/dev/shm')\n"
        "builtins.seen = 1\nopen('/tmp/x', 'w').write('x')\nopen('/dev/shm/y', 'w').write('y')\nprint(5 if not seen else 0)"
    )
    both = (IOTest("", "5"),)
    assert all(v.passed for v in run_tests([Program(sticky, both)] * 3, limits=QUICK, num_workers=1))


MARKS = {
    "mode": "os.chmod(folder, 0o700)",
    "attribute": "os.setxattr(folder, 'user.x', b'x')",
    "time": "os.utime(folder, (1, 1))",
    "another file": "open(folder + '/x', 'w').close()",
    "its own file": "os.unlink(__file__)",
}


@pytest.mark.parametrize("mark", MARKS)
def test_folders_are_as_new_for_every_sample(mark):
    marking = (
        "import os\nfolders = ('/tmp', '/dev/shm', '/program')\n"
        "seen = [1 for f in folders if os.listxattr(f) or os.stat(f).st_mtime < 2 or not os.access(f, os.X_OK)]\n"
        "seen += os.listdir('/tmp') + [n for n in os.listdir('/program') if n != 'program.py'] + [open(__file__).read(0)]\n"
        f"for folder in folders:\n  try: {MARKS[mark]}\n  except OSError: pass\n"
        "print(5 if seen == [''] else seen)"
    )
    verdicts = run_tests([Program(marking, SUM)] * 3, limits=QUICK, num_workers=1)
    assert all(v.passed for v in verdicts), verdicts


STATE = """
import os, resource, signal
limits = [(name, resource.getrlimit(getattr(resource, name))) for name in dir(resource) if name.startswith("RLIMIT_")]
umask = os.umask(0o22)
folders = [(os.stat(f).st_mode, os.stat(f).st_uid, os.listxattr(f)) for f in ("/tmp", "/dev/shm", "/program")]
handled = [signal.getsignal(one) is signal.SIG_DFL for one in sorted({*signal.Signals})]
seen = [limits, umask, folders, handled, os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.getcwd(), hash("x")]
seen += [sorted(os.sched_getaffinity(0)), sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), sorted(os.environ.items())]
"""
CHANGES = """
def tried(act, *how):
    try: act(*how)
    except (OSError, ValueError): pass
for pid in (os.getppid(), 1, 0):
    tried(os.sched_setaffinity, pid, {min(os.sched_getaffinity(0))})
    tried(os.sched_setscheduler, pid, os.SCHED_IDLE, os.sched_param(0))
    tried(os.setpriority, os.PRIO_PROCESS, pid, 19)
    for name, _ in limits: tried(resource.prlimit, pid, getattr(resource, name), (1, 1))
for which in (os.PRIO_PGRP, os.PRIO_USER): tried(os.setpriority, which, 0, 19)
for one in ({*signal.Signals} - {signal.SIGCHLD, signal.SIGCONT}):
    for pid in (os.getppid(), 1): tried(os.kill, pid, one)
    tried(signal.signal, one, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
for folder in ("/tmp", "/dev/shm", "/program"):
    tried(os.setxattr, folder, "user.x", b"x")
    tried(os.utime, folder, (1, 1))
    tried(os.chmod, folder, 0)
os.umask(0o777)
tried(os.chdir, "/")
"""


@pytest.mark.parametrize("mode", MODES)
def test_every_program_starts_as_the_first_did(mode, monkeypatch):
    """Whatever those before it did to themselves, to who started them and to where they were."""
    monkeypatch.setattr(sandbox, "isolation", lambda allow_unsafe=False: mode)
    show = f"{STATE}import zlib\nprint(zlib.crc32(repr(seen).encode()))"
    hostile = Program(f"{STATE}{CHANGES}os.write(1, b'5')", SUM)
    first, *others = run_tests([Program(show, SUM), hostile] * 3, limits=PATIENT, num_workers=1)
    assert first.status == "wrong_answer" and [v.detail for v in others[1::2]] == [first.detail] * 2
    assert all(v.passed for v in others[::2]), others


def test_samples_cannot_see_each_other():
    """Two at once: neither finds the other's processes or files."""
    looks = (
        "import os, time\nopen('/tmp/mine', 'w').write('x')\ntime.sleep(0.3)\n"
        "print(5 if os.listdir('/tmp') == ['mine'] and sum(p.isdigit() for p in os.listdir('/proc')) <= 3 else 0)"
    )
    assert all(v.passed for v in run_tests([Program(looks, SUM)] * 4, limits=QUICK, num_workers=2))


def test_a_sandbox_killed_from_outside_is_replaced():
    programs = [Program("import time\ntime.sleep(0.05)\nprint(1)", (IOTest("", "1"),))] * 20

    def kill_some():
        time.sleep(0.4)
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "sleep" not in child.name():
                    child.kill()

    thread = threading.Thread(target=kill_some)
    thread.start()
    verdicts = run_tests(programs, limits=Limits(), num_workers=1)
    thread.join()
    assert all(v.passed for v in verdicts)


UNSAFE = """
import sys
from wmtp.sandbox.worker import Worker
from wmtp.types import IOTest, Limits, Program
worker = Worker("none")
source = "import os, sys\\nos.makedirs('a/b'); os.chmod('a', 0); os.chmod('.', 0)\\nif os.fork() == 0:\\n    os.setsid()\\n"
source += "    if os.fork() == 0: os.execv(sys.executable, ['python3', '-c', 'import time; time.sleep(900)', '@MARK@'])\\n"
source += "    os._exit(0)\\nimport time\\ntime.sleep(0.3)"
worker.run(Program(source, (IOTest("", ""),)))
print(worker.process.pid, flush=True)
if sys.argv[1] == "closed":
    worker.close()
else:
    once = f"import os, time\\nif not os.path.exists({sys.argv[2]!r}):\\n    open({sys.argv[2]!r}, 'w')\\n    time.sleep(900)"
    worker.run(Program(once, (IOTest("", ""),), Limits(time_limit_s=900.0)))
"""


@pytest.mark.parametrize("end", ["closed", "its user is killed", "it is killed"])
def test_without_isolation_nothing_is_left_either(end, tmp_path):
    """However it ends: no folder in the machine's temporary one, and no process that hid from its group."""
    mark, begun, folder = f"{MARK}-{end}", tmp_path / "begun", tmp_path / "temporary"
    folder.mkdir()
    command = [sys.executable, "-c", UNSAFE.replace("@MARK@", mark), end, str(begun)]
    user = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(folder)}
    )
    server = int(user.stdout.readline())
    assert end == "closed" or len(list(folder.iterdir())) == 1
    if end != "closed":
        wait_for(begun.exists, PATIENCE_S, "the program")  # a second time, in another sandbox, it ends at once
        os.kill(server if end == "it is killed" else user.pid, signal.SIGKILL)
    user.communicate()
    wait_for(lambda: not list(folder.iterdir()), PATIENCE_S, "the folder's end")
    wait_for(lambda: not any(mark in command_of(p) for p in psutil.process_iter()), PATIENCE_S, "the processes' end")


def command_of(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.parametrize(
    ("who", "tests", "count"),
    [
        ("nobody", "in_one_sandbox or starts_as or test_state or test_folders", 2 * len(MODES) + 1 + len(MARKS)),
        ("uid 12345", "in_one_sandbox or starts_as", 2 * len(MODES)),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="already without privileges")
def test_all_of_this_without_privileges(who, tests, count):
    """As another user: no capability, and root's ways (a second user for programs) are closed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        command = [*become(who), sys.executable, "-m", "pytest", "-x", "-n0", f"--basetemp={folder}/own", __file__, "-k", tests]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert f"{count} passed" in result.stdout
