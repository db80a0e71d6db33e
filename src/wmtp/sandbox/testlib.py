"""Checkers in C++ that are made with testlib: compiled in the sandbox, once for each source.

CodeContests+ has one for every problem. The header is the user's: github.com/MikeMirzayanov/testlib. A source is of a dataset,
so the compiler runs where programs run, behind the same walls, and finds of the machine what compilers need and no more.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import threading
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from wmtp.errors import ConfigError, EvaluationError
from wmtp.files import write_text
from wmtp.sandbox.isolation import isolation
from wmtp.sandbox.own_checker import BrokenCheckerError
from wmtp.sandbox.worker import StalledError, Worker
from wmtp.types import Limits, Problem

COMPILERS = ("g++", "clang++")
FLAGS = ("-std=c++17", "-O2", "-static", "-s", "-w", "-pipe", "-DPC_BASE_EXIT_CODE=50", "-I.")
"""Static, because there are no libraries of C++'s where checkers run; partial scores must not have the exit code of `right`."""
COMPILE_LIMITS = Limits(time_limit_s=60.0, memory_limit_bytes=2**30, output_limit_bytes=2**24)
WHERE_FROM = "github.com/MikeMirzayanov/testlib"
OPTION = "--testlib PATH (evaluate.sandbox.testlib)"
MACHINE_FOLDERS = ("/usr", "/bin", "/lib", "/lib64", "/etc/alternatives")
"""What a compiler needs of the machine, read-only."""
_PROBE = '#include "testlib.h"\nint main(int argc, char* argv[]) { registerTestlibCmd(argc, argv); quitf(_ok, "right"); }\n'
_SCRIPT = """\
import base64, json, subprocess, sys, zlib
command, checker, header = json.load(sys.stdin)
for name, text in (("checker.cpp", checker), ("testlib.h", header)):
    with open(name, "w", newline="") as file:
        file.write(text)
ran = subprocess.run([*command, "-o", "checker", "checker.cpp"], stdin=subprocess.DEVNULL, capture_output=True)
said = [line for line in (ran.stderr + ran.stdout).decode("utf-8", "replace").splitlines() if "error" in line]
binary = b"" if ran.returncode else zlib.compress(open("checker", "rb").read(), 1)
print(json.dumps([base64.b64encode(binary).decode(), (said or [f"exit code {ran.returncode}"])[0][:300]]))
"""


@dataclass(frozen=True)
class Toolchain:
    """The header's text, and the compiler: its path and what it says of its version."""

    header: str
    compiler: str
    version: str

    def as_dict(self) -> dict[str, str]:
        """For results: what decides what a checker does."""
        return {"sha256": hashlib.sha256(self.header.encode()).hexdigest(), "compiler": self.version}


def find_testlib(path: Path | None, problems: Iterable[Problem], *, allow_unsafe: bool = False) -> Toolchain | None:
    """What the problems' checkers need; None where none is in C++.

    Args:
        path: of testlib.h, or of the folder that it is in.
    Raises:
        ConfigError: no path, no such file, no compiler, or a header that does not compile; names a problem that needs it.
        EvaluationError: no isolation.
    """
    needed_by = next((problem.problem_id for problem in problems if problem.testlib_checker), None)
    if needed_by is None:
        return None
    why = f"{needed_by} has a checker in C++"
    if path is None:
        raise ConfigError(f"{why}: name testlib.h by {OPTION}; it is to be had at {WHERE_FROM}")
    file = path / "testlib.h" if path.is_dir() else path
    try:
        header = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{file} cannot be read as testlib.h ({reason}): it is to be had at {WHERE_FROM}") from None
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise ConfigError(f"{why}, and there is no C++ compiler here: apt-get install g++")
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    found = Toolchain(header, compiler, said.partition("\n")[0])
    _require_usable(found, file, allow_unsafe=allow_unsafe)
    return found


def _require_usable(found: Toolchain, file: Path, *, allow_unsafe: bool) -> None:
    try:
        Checkers(found, allow_unsafe=allow_unsafe).compiled(_PROBE)
    except BrokenCheckerError as error:
        raise ConfigError(f"{file}: a checker that includes it does not compile with {found.version}: {error}") from None


class Checkers:
    """Compiled checkers by their source. Threads may ask at the same time: each source is compiled once.

    What was compiled is kept in the user's cache folder (`XDG_CACHE_HOME`), where no program that is run can reach it.

    Args:
        time_factor: for the compiler's time limit.
    """

    def __init__(self, testlib: Toolchain, *, allow_unsafe: bool = False, time_factor: float = 1.0) -> None:
        self.testlib, self.allow_unsafe = testlib, allow_unsafe
        self._limits = replace(COMPILE_LIMITS, time_limit_s=COMPILE_LIMITS.time_limit_s * time_factor)
        self._known: dict[str, str] = {}
        self._alone = threading.Lock()
        self._each: dict[str, threading.Lock] = {}

    def compiled(self, checker: str) -> str:
        """The checker's program for `own_checker.files_of_compiled`: packed, as text.

        Raises:
            BrokenCheckerError: it does not compile.
            EvaluationError: the sandbox could not run the compiler.
        """
        key = self._key(checker)
        with self._alone:
            alone = self._each.setdefault(key, threading.Lock())
        with alone:
            if key not in self._known:
                self._known[key] = _kept(key) or self._compile(checker, key)
            return self._known[key]

    def _key(self, checker: str) -> str:
        parts = [checker, self.testlib.header, self.testlib.compiler, self.testlib.version, FLAGS]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _compile(self, checker: str, key: str) -> str:
        given = json.dumps([[self.testlib.compiler, *FLAGS], checker, self.testlib.header])
        worker = Worker(isolation(allow_unsafe=self.allow_unsafe), machine=_machine(self.testlib.compiler))
        try:
            reply = worker.answer(_SCRIPT, given, self._limits)
        except (OSError, StalledError) as error:
            raise EvaluationError(f"the compiler of checkers could not be run: {worker.last_words(error)}") from None
        finally:
            worker.close()
        if reply["status"]:
            raise BrokenCheckerError(f"the compiler ended by {reply['status']}")
        binary, said = json.loads(reply["output"])
        if not binary:
            raise BrokenCheckerError(said)
        _keep(key, binary)
        return str(binary)


def _machine(compiler: str) -> tuple[str, ...]:
    """Folders; links of the root's into /usr are no folders of their own."""
    own = str(Path(compiler).resolve().parent.parent)
    there = [folder for folder in MACHINE_FOLDERS if Path(folder).is_dir() and not Path(folder).is_symlink()]
    return (*there, *(() if any(Path(folder) in Path(compiler).resolve().parents for folder in there) else (own,)))


def _folder() -> Path:
    """Raises RuntimeError: this user has no home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wmtp" / "checkers"


def _kept(key: str) -> str:
    """Of an earlier run; empty where there is none, or a damaged one."""
    with contextlib.suppress(OSError, RuntimeError, ValueError, zlib.error):
        text = (_folder() / key).read_text(encoding="ascii")
        zlib.decompress(base64.b64decode(text))
        return text
    return ""


def _keep(key: str, binary: str) -> None:
    """For the next run, where this user may write."""
    with contextlib.suppress(OSError, RuntimeError):
        _folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(_folder() / key, binary)
