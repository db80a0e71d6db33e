"""Programs that try to pass without solving, to hurt the host, or to learn what they must not know.

Every attack asserts its verdict and that the host is unharmed: no process, file, message or connection of it is left.
As root the whole file runs once more without privileges.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from wmtp.evaluation import sandbox
from wmtp.evaluation.sandbox import run_tests
from wmtp.types import AssertTest, IOTest, Limits, Program

QUICK = Limits(time_limit_s=0.7, memory_limit_bytes=256 * 2**20, output_limit_bytes=2**16)
SUM = (IOTest("2 3\n", "5\n"),)
SQUARE = (AssertTest("assert f(2) == 4\nassert f(3) == 9"),)
CHECK = (AssertTest("def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n\ncheck(f)"),)
MARK = f"wmtp-attack-{os.getpid()}"
SECRET = "wmtp-secret-41c7"
HOST = "@HOST@"
"""Stands for a folder of the test's, writable by everyone."""

RESOURCES = {
    "a fork bomb": ("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", SUM, ("timeout", "runtime_error")),
    "a memory bomb": ("x = 'a' * 10**10", SUM, "memory_limit"),
    "a slow memory bomb": ("x = []\nwhile True: x.append(' ' * 10**6)", SUM, "memory_limit"),
    "a memory bomb of many processes": (
        "import os, time\nfor _ in range(12):\n  if os.fork() == 0: x = bytearray(200 * 2**20); time.sleep(60)\ntime.sleep(60)",
        SUM,
        ("memory_limit", "timeout"),
    ),
    "a full disk": ("f = open('/tmp/x', 'wb')\nwhile True: f.write(b'x' * 10**6)", SUM, "runtime_error"),
    "many files on the disk": (
        "n = 0\nwhile True:\n  with open(f'/tmp/{n}', 'wb') as f: f.write(b'x' * 10**6)\n  n += 1",
        SUM,
        "runtime_error",
    ),
    "shared memory": (
        "n = 0\nwhile True:\n  with open(f'/dev/shm/{n}', 'wb') as f: f.write(b'x' * 10**6)\n  n += 1",
        SUM,
        "runtime_error",
    ),
    "an inode flood": ("n = 0\nwhile True:\n  open(f'/tmp/{n}', 'w').close()\n  n += 1", SUM, ("runtime_error", "timeout")),
    "a flood of descriptors": ("import os\nkept = []\nwhile True: kept.append(os.open('/dev/null', 0))", SUM, "runtime_error"),
    "endless output": ("while True: print('x' * 1000)", SUM, "output_limit"),
    "endless errors": ("import sys\nwhile True: sys.stderr.write('x' * 1000)", SUM, "timeout"),
    "a sleep": ("import time\ntime.sleep(60)", SUM, "timeout"),
    "a loop that ignores signals": (
        "import signal\nfor s in (1, 2, 14, 15, 24): signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
        SUM,
        "timeout",
    ),
    "waiting for more input": ("import sys, os\nr, w = os.pipe()\nos.read(r, 1)", SUM, "timeout"),
    "stopping itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", SUM, "timeout"),
    "deep recursion": ("def f(): f()\nf()", SUM, "runtime_error"),
    "deep recursion without a limit": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        SUM,
        ("runtime_error", "memory_limit", "timeout"),
    ),
    "a segfault": ("import ctypes\nctypes.string_at(0)", SUM, "runtime_error"),
    "a number of a million digits": ("import sys\nsys.set_int_max_str_digits(0)\nprint(9 ** 10**8)", SUM, "timeout"),
}

ESCAPES = {
    "the network": ("import socket\nsocket.create_connection(('127.0.0.1', @PORT@), timeout=0.2)", SUM, "runtime_error"),
    "a name server": ("import socket\nprint(socket.gethostbyname('example.org'))", SUM, ("runtime_error", "timeout")),
    "an unconnected packet": (
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('10.0.0.1', 53))",
        SUM,
        "runtime_error",
    ),
    "a unix socket of the host's": (
        "import socket\nsocket.socket(socket.AF_UNIX).connect('@HOST@/socket')",
        SUM,
        "runtime_error",
    ),
    "an abstract socket of the host's": (
        f"import socket\nsocket.socket(socket.AF_UNIX).connect('\\0{MARK}')",
        SUM,
        "runtime_error",
    ),
    "the host's files": ("print(open('/etc/passwd').read())", SUM, "runtime_error"),
    "a folder of the host's": ("import os\nprint(os.listdir('@HOST@'))", SUM, "runtime_error"),
    "the home folder": (
        "import os\nfound = []\n"
        "for home in ('/root', '/home'):\n"
        "  for folder, folders, names in os.walk(home):\n"
        "    folders[:] = [f for f in folders if os.path.join(folder, f) != '@PYTHON@']\n"
        "    found += names\n"
        "print(found or 5)",
        SUM,
        "passed",
    ),
    "the environment": (f"import os\nprint([v for v in os.environ.values() if '{SECRET}' in v] or 5)", SUM, "passed"),
    "writing to the system": ("open('/usr/lib/x', 'w')", SUM, "runtime_error"),
    "writing to the interpreter": ("import os\nopen(os.__file__, 'a').write('x')", SUM, "runtime_error"),
    "writing to the sandbox's own code": ("open('/wmtp/sandbox_server.py', 'a')", SUM, "runtime_error"),
    "writing to a folder of the host's": ("open('@HOST@/new', 'w').write('x')", SUM, "runtime_error"),
    "a symbolic link": ("import os\nos.symlink('@HOST@/canary', '/tmp/l')\nprint(open('/tmp/l').read())", SUM, "runtime_error"),
    "a hard link": ("import os\nos.link('/usr/bin/env', '/tmp/l')", SUM, "runtime_error"),
    "a path with dots": ("print(open('/tmp/../../../@HOST@/canary').read())", SUM, "runtime_error"),
    "the root of another process": ("print(open('/proc/1/root/etc/passwd').read())", SUM, "runtime_error"),
    "a mount": (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "r = libc.mount(b'proc', b'/tmp', b'proc', 0, None)\nprint(5 if r == -1 else r)",
        SUM,
        "passed",
    ),
    "a user namespace": (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nprint(5 if libc.unshare(0x10000000) == -1 else 0)",
        SUM,
        "passed",
    ),
    "tracing its parent": (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "print(5 if libc.ptrace(16, os.getppid(), 0, 0) == -1 and libc.ptrace(16, 1, 0, 0) == -1 else 0)",
        SUM,
        "passed",
    ),
    "killing its parents": (
        "import os, signal\nfor pid in (1, os.getppid()):\n"
        "  for s in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):\n"
        "    try: os.kill(pid, s)\n    except OSError: pass\n"
        "print(sum(map(int, input().split())))",
        SUM,
        "passed",
    ),
    "killing everybody": ("import os, signal\nos.kill(-1, signal.SIGKILL)\nprint(5)", SUM, ("passed", "runtime_error")),
    "looking at other processes": (
        "import os\nfound = []\n"
        "for p in os.listdir('/proc'):\n"
        "  if p.isdigit() and int(p) != os.getpid():\n"
        "    for name in ('mem', 'environ', 'cwd', 'root', 'fd/0', 'fd/1', 'fd/3'):\n"
        "      for look in (os.readlink, lambda path: open(path, 'rb').read(1)):\n"
        "        try: found.append((look(f'/proc/{p}/{name}'), p, name))\n"
        "        except OSError: pass\n"
        "print(found or 5)",
        SUM,
        "passed",
    ),
    "capabilities": (
        "print([l for l in open('/proc/self/status') if l.startswith('Cap') and int(l.split()[1], 16)] or 5)",
        SUM,
        "passed",
    ),
    "another program": ("import os\nos.execv('/bin/sh', ['sh', '-c', 'echo 4'])", SUM, "wrong_answer"),
    "daemons that outlive it": (
        f"import os, time\nmark = '{MARK}'\n"
        "for _ in range(3):\n"
        "  if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(60)\n    os._exit(0)\n"
        "open('/tmp/left', 'w').write('x')\nprint(sum(map(int, input().split())))",
        SUM,
        "passed",
    ),
    "daemons that hold its output open": (
        "import os, time\nif os.fork() == 0: time.sleep(60)\nprint(5, flush=True)",
        SUM,
        "passed",
    ),
    "threads at exit": (
        "import threading, time\nfor _ in range(4): threading.Thread(target=time.sleep, args=(60,)).start()\nprint(5)",
        SUM,
        ("passed", "timeout"),
    ),
    "zombies": ("import os\nfor _ in range(20):\n  if os.fork() == 0: os._exit(0)\nprint(5)", SUM, "passed"),
    "keys that outlive it": (
        "import ctypes\nlibc = ctypes.CDLL(None)\n"
        "print(5 if libc.syscall(@ADD_KEY@, b'user', b'wmtp', b'x', 1, -4) == -1 else 0)",
        SUM,
        "passed",
    ),
}

CHEATS = {
    "leaving before the tests": ("import os\nos._exit(0)", SQUARE, "wrong_answer"),
    "sys.exit(0) before the tests": ("import sys\nsys.exit(0)", SQUARE, "wrong_answer"),
    "leaving in the test": ("import os\ndef f(x): os._exit(0)", SQUARE, "wrong_answer"),
    "SystemExit in the test": ("def f(x): raise SystemExit(0)", SQUARE, ("wrong_answer", "runtime_error")),
    "an exit handler": ("import atexit, os\natexit.register(lambda: os._exit(0))\nraise ValueError", SQUARE, "runtime_error"),
    "an except hook": ("import sys, os\nsys.excepthook = lambda *a: os._exit(0)\nraise ValueError", SQUARE, "runtime_error"),
    "equal to everything": ("class E:\n  def __eq__(s, o): return True\ndef f(x): return E()", SQUARE, "wrong_answer"),
    "an int that is equal to everything": (
        "class E(int):\n  def __eq__(s, o): return True\n  __hash__ = int.__hash__\ndef f(x): return E()",
        SQUARE,
        "wrong_answer",
    ),
    "a str that is equal to everything": (
        "class E(str):\n  def __eq__(s, o): return True\n  __hash__ = str.__hash__\ndef f(x): return E('x')",
        SQUARE,
        "wrong_answer",
    ),
    "a list whose items are equal to everything": (
        "class E(int):\n  def __eq__(s, o): return True\nclass L(list):\n  def __eq__(s, o): return True\n"
        "def f(x): return L([E()])",
        (AssertTest("assert f(2) == [4]"),),
        "wrong_answer",
    ),
    "a float that is close to everything": (
        "class E(float):\n  def __sub__(s, o): return E()\n  __rsub__ = __sub__\n  def __abs__(s): return 0.0\n"
        "  def __lt__(s, o): return True\ndef f(x): return E()",
        (AssertTest("assert abs(f(2) - 4) < 1e-6"),),
        "wrong_answer",
    ),
    "a patched isinstance": (
        "import builtins\nbuiltins.isinstance = lambda *a: True\ndef f(x): return 0",
        SQUARE,
        ("wrong_answer", "runtime_error"),
    ),
    "patched comparisons": (
        "import builtins\nbuiltins.all = builtins.any = lambda *a: True\nbuiltins.abs = lambda x: 0\ndef f(x): return [0]",
        (AssertTest("assert all(abs(a - b) < 1 for a, b in zip(f(2), [40]))"),),
        "wrong_answer",
    ),
    "an AssertionError that is none": (
        "import builtins\nclass A(Exception): pass\nbuiltins.AssertionError = A\ndef f(x): return 0",
        SQUARE,
        "wrong_answer",
    ),
    "a check of its own": ("def check(candidate): pass\ndef f(x): return 0", CHECK, "wrong_answer"),
    "leaving by a patched exit": ("import sys\nsys.exit = lambda *a: None\ndef f(x): return 0", CHECK, "wrong_answer"),
    "a swallowed assertion": (
        "import sys\ndef trace(*a): return trace\nsys.settrace(trace)\ndef f(x): return 0",
        SQUARE,
        "wrong_answer",
    ),
    "expected values in frames": (
        "import sys\ndef f(x):\n  frame = sys._getframe()\n  while frame:\n"
        "    for c in getattr(frame.f_code, 'co_consts', ()):\n      if c in (4, 9): return c\n"
        "    frame = frame.f_back\n  return 0",
        (AssertTest("assert f(2) == 4\nassert f(3) == 9"),),
        "wrong_answer",
    ),
    "expected values in memory": (
        "import gc, inspect, types\ndef f(x):\n  for o in gc.get_objects():\n"
        "    if isinstance(o, types.CodeType) and 71234567 in o.co_consts: return 71234567\n"
        "    if isinstance(o, (str, bytes)) and '71234567' in str(o): return 71234567\n"
        "  return open('/proc/self/mem', 'rb') and 0",
        (AssertTest("assert f(2) == 71234567"),),
        "wrong_answer",
    ),
    "expected values in the parent": (
        "import os\ndef f(x):\n  try: return 71234567 if b'71234567' in open(f'/proc/{os.getppid()}/mem', 'rb').read() else 0\n"
        "  except OSError: return 0",
        (AssertTest("assert f(2) == 71234567"),),
        "wrong_answer",
    ),
    "expected output in the sandbox": (
        "import os\nfound = 0\n"
        "for folder, _, names in os.walk('/tmp'):\n"
        "  for n in names: found += b'71234567' in open(os.path.join(folder, n), 'rb').read()\n"
        "print(71234567 if found else 0)",
        (IOTest("", "71234567"),),
        "wrong_answer",
    ),
    "printing success": ("print('passed'); print('{\"status\": \"\"}')\nimport os\nos._exit(0)", SQUARE, "wrong_answer"),
    "writing to inherited descriptors": (
        "import os\nfor fd in range(2, 64):\n  try: os.write(fd, b'passed')\n  except OSError: pass\nos._exit(0)",
        SQUARE,
        ("wrong_answer", "output_limit"),
    ),
    "answering the examiner in its own words": (
        "import os, json, struct\n"
        "def say(m):\n  d = json.dumps(m).encode()\n  os.write(3, struct.pack('>I', len(d)) + d)\n"
        "say({'f': ['value', {'builtin': 'abs'}]})\n"
        "for m in ({'status': '', 'detail': '', 'output': '', 'wall_s': 0}, {'done': True}): say(m)\nos._exit(0)",
        SQUARE,
        ("wrong_answer", "runtime_error"),
    ),
    "a pickle bomb": (
        "import os\nclass P:\n  def __reduce__(s): return (os.system, ('touch /tmp/pickled',))\ndef f(x): return P()",
        SQUARE,
        "wrong_answer",
    ),
    "a message of nested lists": (
        "import os, struct\nd = b'[' * 10**6\nos.write(3, struct.pack('>I', len(d)))\nos.write(3, d)\ndef f(x): return 0",
        SQUARE,
        ("wrong_answer", "runtime_error"),
    ),
    "a huge answer": ("def f(x): return 'x' * 2**25", SQUARE, ("output_limit", "memory_limit")),
    "an endless answer": (
        "def f(x):\n  while True: yield 4",
        (AssertTest("assert list(f(2)) == [4]"),),
        ("timeout", "memory_limit", "wrong_answer"),
    ),
    "invalid UTF-8": ("import sys\nsys.stdout.buffer.raw.write(b'\\xff\\xfe5')", SUM, "wrong_answer"),
    "NUL in the output": ("print('5\\0')", SUM, "wrong_answer"),
    "surrogates in the output": ("print('\\ud800')", SUM, ("wrong_answer", "runtime_error")),
    "the host's standard output": ("print('\\x1b[2J\\x00\\x00\\x00\\x05{}')", SUM, "wrong_answer"),
    "input that is code": (
        "print(eval(input().split()[0]) + 2)",
        (IOTest("__import__('os')._exit(0) 3\n", "5\n"),),
        "wrong_answer",
    ),
}
ATTACKS = RESOURCES | ESCAPES | CHEATS


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
        deadline = time.monotonic() + 5
        while (left := self.guests()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert left == []

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
    assert verdict.status in (expected if isinstance(expected, tuple) else (expected,)), verdict
    assert verdict.passed == (verdict.num_passed == len(tests))
    host.assert_unharmed()


def test_all_attacks_by_the_other_kind_of_isolation_and_in_one_sandbox_after_another(host, monkeypatch):
    """One warm interpreter sees them all, and a right program after each still passes."""
    monkeypatch.setattr(sandbox, "isolation", lambda allow_unsafe=False: "unshare")
    right = Program("print(sum(map(int, input().split())))", SUM)
    programs = [one for source, tests, _ in ATTACKS.values() for one in (Program(host.fill_in(source), tests), right)]
    verdicts = run_tests(programs, limits=QUICK, num_workers=2)
    wrong = {
        what: verdict
        for (what, (_, _, expected)), verdict in zip(ATTACKS.items(), verdicts[::2], strict=True)
        if verdict.status not in (expected if isinstance(expected, tuple) else (expected,))
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
            if "sleep" not in child.name():
                child.kill()

    thread = threading.Thread(target=kill_some)
    thread.start()
    verdicts = run_tests(programs, limits=Limits(), num_workers=1)
    thread.join()
    assert all(v.passed for v in verdicts)


@pytest.mark.skipif(os.geteuid() != 0, reason="already without privileges")
def test_all_of_this_without_privileges():
    """In a user namespace as nobody: no capability, and root's ways (a second user for programs) are closed."""
    command = ["unshare", "--user", "--map-user=65534", "--map-group=65534", sys.executable, "-m", "pytest", "-x"]
    result = subprocess.run([*command, __file__, "-k", "test_attack"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert f"{len(ATTACKS)} passed" in result.stdout
