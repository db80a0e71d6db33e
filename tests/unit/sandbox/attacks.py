"""Programs for `test_sandbox_abuse`: name -> (source, tests, the verdict that each must get, or those that it may get).

@HOST@, @PORT@, @PYTHON@, @ADD_KEY@ and @IO_SETUP@ are filled in by the test.
"""

import os

from wmtp.types import AssertTest, IOTest

SUM = (IOTest("2 3\n", "5\n"),)
SQUARE = (AssertTest("assert f(2) == 4\nassert f(3) == 9"),)
CHECK = (AssertTest("def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n\ncheck(f)"),)
MARK = f"wmtp-attack-{os.getpid()}"
SECRET = "wmtp-secret-41c7"

RESOURCES = {
    "a fork bomb": ("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", SUM, ("timeout", "runtime_error")),
    "a memory bomb": ("x = 'a' * 10**10", SUM, "memory_limit"),
    "a slow memory bomb": ("x = []\nwhile True: x.append(' ' * 10**6)", SUM, ("memory_limit", "timeout")),
    "a memory bomb of many processes": (
        "import os, time\nfor _ in range(12):\n"
        "  if os.fork() == 0: x = bytearray(200 * 2**20); time.sleep(600)\ntime.sleep(600)",
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
    "a sleep": ("import time\ntime.sleep(600)", SUM, "timeout"),
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
    "a range that the test adds up": ("def f(x): return range(10**15)", (AssertTest("assert sum(f(2)) == 4"),), "timeout"),
    "a number that the test raises to its power": (
        "def f(x): return 10**8",
        (AssertTest("assert 3 ** f(2) == 3 ** f(3)"),),
        "timeout",
    ),
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
        "for home in {'root', 'home'} & set(os.listdir('/')):\n"
        "  for folder, folders, names in os.walk('/' + home):\n"
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
    "another program": ("import os\nos.execv('/bin/sh', ['sh', '-c', 'echo 5'])", SUM, "runtime_error"),
    "another interpreter": ("import os, sys\nos.execv(sys.executable, ['python3', '-c', 'print(4)'])", SUM, "wrong_answer"),
    "times of devices": (
        "import os\nfor name in ('null', 'zero', 'full', 'random', 'urandom'):\n"
        "  try: os.utime('/dev/' + name)\n  except OSError: pass\n  else: print(name)\nprint(5)",
        SUM,
        "passed",
    ),
    "daemons that outlive it": (
        f"import os, time\nmark = '{MARK}'\n"
        "for _ in range(3):\n"
        "  if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(600)\n    os._exit(0)\n"
        "open('/tmp/left', 'w').write('x')\nprint(sum(map(int, input().split())))",
        SUM,
        "passed",
    ),
    "daemons that hold its output open": (
        "import os, time\nif os.fork() == 0: time.sleep(600)\nprint(5, flush=True)",
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
    "lower limits for its parent": (
        "import os, resource\nfor pid in (1, os.getppid()):\n"
        "  for kind in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):\n"
        "    try: resource.prlimit(pid, kind, (1, 1))\n    except OSError: pass\nprint(5)",
        SUM,
        "passed",
    ),
    "a worse place for its parent": (
        "import os\nfor pid in (1, os.getppid()):\n  for act in (lambda: os.setpriority(os.PRIO_PROCESS, pid, 19),"
        " lambda: os.setpriority(os.PRIO_USER, 0, 19), lambda: os.sched_setaffinity(pid, {0}),"
        " lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))):\n"
        "    try: act()\n    except OSError: pass\nprint(5)",
        SUM,
        "passed",
    ),
    "interrupting its parents": (
        "import os, signal\nfor s in set(signal.Signals) - {signal.SIGCHLD}:\n  for pid in (1, os.getppid()):\n"
        "    try: os.kill(pid, s)\n    except OSError: pass\nprint(5)",
        SUM,
        "passed",
    ),
    "folders that nobody can use": (
        "import os\nfor folder in ('/tmp', '/dev/shm', '/program'):\n"
        "  try: os.chmod(folder, 0)\n  except OSError: pass\nprint(5)",
        SUM,
        "passed",
    ),
    "another file in its file's place": (
        "import os\ntry:\n  os.unlink(__file__)\n  os.mkdir(__file__)\n  open(__file__ + '/x', 'w').close()\n"
        "except OSError: pass\nprint(5)",
        SUM,
        "passed",
    ),
    "asynchronous input and output": (
        "import ctypes\nlibc, context = ctypes.CDLL(None), ctypes.c_ulong()\n"
        "print(5 if libc.syscall(@IO_SETUP@, 1000, ctypes.byref(context)) == -1 else 0)",
        SUM,
        "passed",
    ),
    "a pair of sockets of the network's": (
        "import socket\nsocket.socketpair(socket.AF_NETLINK)",
        SUM,
        "runtime_error",
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
