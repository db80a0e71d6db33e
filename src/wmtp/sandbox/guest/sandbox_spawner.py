"""The process that candidates are forked from, and the candidates: the only processes that untrusted code ever runs in.

Runs inside the sandbox with nothing but the standard library. The spawner is the first process of a PID namespace, with a
mount and an IPC namespace of its own. It reads neither programs nor tests: it is handed descriptors, and hands them on. So
there is nothing in a candidate's memory, which is a copy of the spawner's, that would help it.

Orders come over a socket, one at a time: the limits (`ORDER`), with the descriptors of standard input, standard output, the
channel and the program's source. It forks a candidate and answers with a descriptor of its process; and when that has ended,
or was killed, it kills and reaps all that is left in the namespace, empties /tmp and answers with the exit status.

Every candidate starts with a copy of each page that is written to before the program's first line, so little is done here.
"""

import _socket  # socket itself would bring a dozen modules into every candidate
import contextlib
import ctypes
import fcntl
import functools
import gc
import io
import os
import resource
import select
import signal
import site
import struct
import sys
from typing import Any, NoReturn

import sandbox_calls
import sandbox_candidate
import sandbox_program
import sandbox_seccomp
from sandbox_memory import Guard
from sandbox_program import CHANNEL, LIBC, SOURCE
from sandbox_root import READ_ONLY, check, protect

CLONE_NEWPID, CLONE_NEWNS, CLONE_NEWIPC = 0x20000000, 0x00020000, 0x08000000
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE = 1, 24, 36, 38, 4
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MNT_DETACH = 1, 2, 4, 8, 4096, 2
LAST_CAPABILITY = 40
WARM_UP_ROUNDS = 64
CANDIDATE_ID = 1
MAX_PROCESSES = 32
FILE_BYTES = 16 * 2**20
READY = b"ready"
FIRST_OWN = 16
"""Descriptors from here on are the spawner's own; those between are what came with an order."""
ORDER, STATUS = struct.Struct("<qdB"), struct.Struct("<iq")
"""Memory limit in bytes, time limit in seconds, what the program is run as; the status that `os.wait` has, peak memory."""
ADDRESS_BYTES = 2**30
"""Of address space beyond the memory limit: stacks of threads and libraries reserve what they never touch."""
TEMPORARY, PROGRAM = "/tmp", "/program"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Numerical libraries would start as many as there are cores."""
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": TEMPORARY, "PYTHONHASHSEED": "0", **ONE_THREAD}
"""A program's; the seed is the sandbox's own too, so that the order of a set is a function of what is in it."""
MAX_ANSWER_BYTES = 4096


def start_spawner(isolated: bool, guard: Guard) -> tuple[_socket.socket, int]:
    """The socket for orders, and the pid of the process between this one and the spawner, which lives as long as this one."""
    ours, theirs = high_pair()
    alive, held = os.pipe()  # the second end is this process's alone, as long as it lives
    middle = os.fork()
    if middle != 0:
        theirs.close()
        os.close(alive)
        return ours, middle
    ours.close()
    os.close(held)
    folders: tuple[str, str] | None = None
    try:
        if isolated:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            check(LIBC.unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC), "unshare")  # for the children of this process
        else:
            os.setsid()
            LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            folders = unsafe_folders()
    except OSError as error:
        theirs.send(str(error).encode())
        os._exit(1)
    wanted, empty = high_pair()
    spawner = os.fork()
    if spawner == 0:
        empty.close()
        guard.close()
        serve_orders(theirs, wanted, folders)
    theirs.close()
    wanted.close()
    if folders is None:
        stand_by(empty, guard, {str(pid) for pid in (os.getppid(), os.getpid(), spawner)})
    keep_folders(folders, alive)


def high_pair() -> list[_socket.socket]:
    """Two connected sockets whose descriptors are none that a candidate has."""
    low = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    high = [_socket.socket(fileno=fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, FIRST_OWN)) for one in low]
    for one in low:
        one.close()
    return high


def send_fds(to: _socket.socket, data: bytes, fds: list[int]) -> None:
    """A message that descriptors go with."""
    to.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))])


def receive_fds(source: _socket.socket, size: int, count: int) -> tuple[bytes, tuple[int, ...]]:
    """A message of at most `size` bytes, and the descriptors that came with it."""
    data, extra, _, _ = source.recvmsg(size, _socket.CMSG_LEN(4 * count))
    return data, struct.unpack(f"{len(extra[0][2]) // 4}i", extra[0][2]) if extra else ()


def stand_by(orders: _socket.socket, guard: Guard, own: set[str]) -> NoReturn:
    """Mount /tmp and /dev/shm anew whenever the spawner, which may not mount any more, asks for it; and keep the guard.

    `own`: pids that are no program's.
    """
    LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    while True:
        if not select.select([orders], [], [], guard.look(own))[0]:
            continue
        if not orders.recv(1):
            break
        try:
            for folder in (b"/dev/shm", *(folder.encode() for folder in (TEMPORARY, PROGRAM))):
                check(LIBC.umount2(folder, MNT_DETACH), "umount")
            mount_folders()
        except OSError:
            break
        orders.send(b"x")
    os._exit(0)


def unsafe_folders() -> tuple[str, str]:
    """Without isolation /tmp and the program's folder are two of the machine's, in one that has a name of ours."""
    import tempfile

    folder = tempfile.mkdtemp(prefix="wmtp-unsafe-")
    own = os.path.join(folder, "tmp"), os.path.join(folder, "program")
    for each in own:
        os.mkdir(each)
    return own


def keep_folders(folders: tuple[str, str], alive: int) -> NoReturn:
    """Wait for the end of the server, however that comes, and leave nothing behind: no process and no file."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.read(alive, 1)
    while children := children_of(os.getpid()):  # the spawner, and then all that it or a program had started
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    remove(os.path.dirname(folders[0]))
    os._exit(0)


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def remove(folder: str) -> None:
    """All of it, whatever a program has made in it, forbidden or nested."""
    for command in (["chmod", "-R", "u+rwx", "--", folder], ["rm", "-rf", "--", folder]):
        os.waitpid(os.posix_spawn(f"/bin/{command[0]}", command, ENVIRONMENT), 0)


def mount_folders() -> None:
    """Empty /tmp and /dev/shm, of bounded size, and a folder for the program's own file."""
    for folder, options in ((TEMPORARY, b"size=64m,nr_inodes=16384,mode=1777"), (PROGRAM, b"size=2m,nr_inodes=64,mode=755")):
        name = folder.encode()
        check(LIBC.mount(b"tmpfs", name, b"tmpfs", MS_NOSUID | MS_NODEV, options), f"mount {folder}")
    check(LIBC.mount(b"/tmp", b"/dev/shm", None, MS_BIND, None), "mount /dev/shm")


# ------------------------------------------------------------------------------- the spawner


def serve_orders(orders: _socket.socket, wanted: _socket.socket, folders: tuple[str, str] | None) -> NoReturn:
    spawner = Spawner(wanted, folders)
    try:
        spawner.prepare()
        warm_up()
        gc.freeze()
        orders.send(READY)
    except OSError as error:
        orders.send(str(error).encode())
        os._exit(1)
    while True:
        order, fds = receive_fds(orders, ORDER.size, 4)
        if not order:
            os._exit(0)
        candidate = os.fork()
        if candidate == 0:
            spawner.become_candidate(fds, *ORDER.unpack(order))
        for fd in fds:
            os.close(fd)
        process = os.pidfd_open(candidate)
        send_fds(orders, READY, [process])
        os.close(process)
        orders.send(STATUS.pack(*spawner.end(candidate)))


def warm_up() -> None:
    """What every candidate would otherwise do for the first time, in pages of its own.

    Many times: the interpreter goes on writing into code until it knows how that is used.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for _ in range(WARM_UP_ROUNDS):
        namespace: dict[str, Any] = {}
        exec(compile(b"import sys\ndef f(x): return [x]\nprint(f(1), file=sys.stderr)", "program.py", "exec"), namespace)
        candidate = sandbox_candidate.Candidate(CHANNEL, namespace)
        asked = b"".join(map(sandbox_calls.pack, ({"names": ["f"]}, {"do": "call", "args": [{"yours": 0}, [1]], "kwargs": {}})))
        candidate.read = functools.partial(_read_from, io.BytesIO(asked))
        candidate.channel = null
        candidate.serve()
    os.close(null)


def _read_from(stream: io.BytesIO, fd: int, size: int) -> bytes:
    return stream.read(size)


class Spawner:
    """What candidates are started with and what is cleaned up after them. `unsafe`: folders to use where nothing is mounted."""

    def __init__(self, wanted: _socket.socket, unsafe: tuple[str, str] | None) -> None:
        self.wanted, self.isolated = wanted, unsafe is None
        self.has_second_user = self.isolated and has_second_user()
        self.temporary, self.program = unsafe or (TEMPORARY, PROGRAM)
        self.fresh: list[tuple[int, ...]] = []

    def prepare(self) -> None:
        """A /proc that shows this namespace only, an empty /tmp, nothing of the server's descriptors, no way to more rights."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a candidate of the same user could send
        prepare_streams()
        for add in (site.setquit, site.setcopyright, site.sethelper):  # exit, help and others; its paths are not wanted here
            add()
        os.closerange(SOURCE + 1, FIRST_OWN)
        os.environ.clear()
        os.environ.update(ENVIRONMENT)
        LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        for kind, value in ((resource.RLIMIT_FSIZE, FILE_BYTES), (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0)):
            limit(kind, value)
        if not self.isolated:
            os.chdir(self.temporary)
            return
        protect("/", READ_ONLY)  # a device's times could be set too, and seen by the next program
        safe = MS_NOSUID | MS_NODEV
        check(LIBC.mount(b"proc", b"/proc", b"proc", safe | MS_NOEXEC | MS_RDONLY, None), "mount /proc")
        mount_folders()
        self.fresh = [state_of(self.temporary), state_of(self.program)[:4]]
        os.chdir(self.temporary)
        for capability in range(LAST_CAPABILITY + 1):
            LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        drop_capabilities(keep_own=self.has_second_user)
        sandbox_seccomp.install(LIBC, sandbox_seccomp.build_filter(os.uname().machine))

    def end(self, candidate: int) -> tuple[int, int]:
        """Wait for the end of the candidate; nothing of the program outlives this. Its exit status and its peak memory."""
        if not self.isolated:  # its number stays its group's until it is reaped
            os.waitid(os.P_PID, candidate, os.WEXITED | os.WNOWAIT)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(candidate, signal.SIGKILL)
        _, status, used = os.wait4(candidate, 0)
        try:
            if self.isolated:
                os.kill(-1, signal.SIGKILL)
            while os.waitpid(-1, 0 if self.isolated else os.WNOHANG) != (0, 0):
                pass
        except (ProcessLookupError, ChildProcessError):
            pass  # nothing was left
        self.clean()
        return status, used.ru_maxrss * 1024

    def clean(self) -> None:
        """The next program finds its folders as the first did."""
        if not self.isolated:
            self._empty_unmounted()
        elif not self._is_fresh():
            os.chdir("/")
            self.wanted.send(b"x")
            if not self.wanted.recv(1):
                raise OSError("/tmp could not be emptied")
            self.fresh = [state_of(self.temporary), state_of(self.program)[:4]]
            os.chdir(self.temporary)

    def _is_fresh(self) -> bool:
        """Nothing was made in, or done to, the folders but the program's own file in one of them."""
        try:
            os.unlink(os.path.join(self.program, sandbox_program.FILE_NAME))
            is_as_made = [state_of(self.temporary), state_of(self.program)[:4]] == self.fresh
            return is_as_made and not os.listdir(self.program) and not os.listxattr(self.program)
        except OSError:
            return False

    def _empty_unmounted(self) -> None:
        os.chdir("/")
        for folder in (self.temporary, self.program):
            remove(folder)
            os.mkdir(folder)
        os.chdir(self.temporary)

    # --------------------------------------------------------------------------- untrusted from here on

    def become_candidate(self, fds: tuple[int, ...], memory_bytes: int, time_s: float, kind: int) -> NoReturn:
        """Its descriptors and limits, and no privileges: nothing of the spawner is reachable any more."""
        os.setsid()
        for given, own in zip(fds, (0, 1, CHANNEL, SOURCE), strict=True):
            os.dup2(given, own)
        os.closerange(SOURCE + 1, 256)
        self._place_program()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        limit(resource.RLIMIT_AS, memory_bytes + ADDRESS_BYTES)
        limit(resource.RLIMIT_CPU, int(time_s) + 1)
        limit(resource.RLIMIT_NPROC, MAX_PROCESSES)
        if self.has_second_user:
            os.setgroups([])
            os.setresgid(CANDIDATE_ID, CANDIDATE_ID, CANDIDATE_ID)
            os.setresuid(CANDIDATE_ID, CANDIDATE_ID, CANDIDATE_ID)
        LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        sandbox_program.run(self.program, kind)
        raise AssertionError("a program that came back")

    def _place_program(self) -> None:
        """Its file, where `__file__` says."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
        file, size = os.open(os.path.join(self.program, sandbox_program.FILE_NAME), flags, 0o644), os.fstat(SOURCE).st_size
        sent = 0
        while sent < size:
            sent += os.sendfile(file, SOURCE, sent, size - sent)
        os.close(file)


def prepare_streams() -> None:
    """Standard streams as a script has them that reads a file and writes to a pipe; candidates put their own behind them."""
    null, (read, write) = os.open("/dev/null", os.O_RDWR), os.pipe()
    for fd in range(SOURCE + 1):
        os.dup2(write if fd == 1 else null, fd)
    for fd in (null, read, write):
        if fd > SOURCE:
            os.close(fd)
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        raw = io.FileIO(fd, "w" if fd else "r", closefd=False)
        raw.name = f"<{name}>"
        buffer = io.BufferedWriter(raw) if fd else io.BufferedReader(raw)
        errors = "backslashreplace" if fd == 2 else "strict"
        stream: Any = io.TextIOWrapper(buffer, encoding="utf-8", errors=errors, line_buffering=fd == 2)
        stream.mode = "w" if fd else "r"
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def state_of(folder: str) -> tuple[int, ...]:
    """Whose it is, and what changes with whatever is done to it."""
    found = os.stat(folder)
    return found.st_mode, found.st_uid, found.st_gid, found.st_dev, found.st_mtime_ns, found.st_ctime_ns


def has_second_user() -> bool:
    """Whether the namespace has a user of its own for candidates (only root can give it one)."""
    with open("/proc/self/uid_map") as file:
        return any(int(line.split()[0]) == CANDIDATE_ID for line in file)


def drop_capabilities(*, keep_own: bool) -> None:
    """Candidates inherit none. `keep_own`: this process's, to make candidates another user, which drops them."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits of each
    if keep_own:
        check(LIBC.capget(header, sets), "capget")
        sets[2] = sets[5] = 0
    check(LIBC.capset(header, sets), "capset")


def limit(kind: int, value: int) -> None:
    """At most `value` from now on."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))
