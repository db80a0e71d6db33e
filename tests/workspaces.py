"""A workspace of its own for tests that run the real pipeline: the project's files in a new git repository."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml

PROJECT = Path(__file__).resolve().parents[1]
FILES = (".dvc/config", ".dvcignore", ".gitignore", "dvc.yaml", "params.yaml", "prefect.yaml", "pyproject.toml")
FOLDERS = (".dvc/plots", "configs", "flows", "src/wmtp", "tasks")
MARK = "WMTP_TEST_WORKSPACE"
PATIENCE_S = 300
"""How long to wait for what takes moments: on a loaded machine it takes longer, and a wait that is over costs nothing."""


class Workspace:
    """Runs commands in a copy of the project, with the copy's code. Without `prefect_url` every flow starts a server."""

    def __init__(self, root, prefect_url=None):
        self.root, self.prefect_url = Path(root), prefect_url
        for name in (*FILES, *FOLDERS):
            source, target = PROJECT / name, self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.pyc.*"))  # compiled now by another process
            else:
                shutil.copy(source, target)
        subprocess.run(["git", "init", "--quiet", str(self.root)], check=True)
        (self.root / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
        self.slots = self.root / ".wmtp-slots"

    def environment(self, **extra):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "WMTP_", "DVC_"))}
        places = {"PATH": path, "PYTHONPATH": f"{self.root / 'src'}{os.pathsep}{self.root}", MARK: str(self.root)}
        server = {"PREFECT_API_URL": self.prefect_url} if self.prefect_url else {}
        return {**kept, **places, **server, "WMTP_SLOT_DIR": str(self.slots), **extra}

    def start(self, *command, **environment):
        """A process in this workspace, its output piped as text."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command, code=0, timeout=1500, **environment):
        """Run a command to its end and return what it printed; any other exit code than `code` fails the test."""
        process = self.start(*command, **environment)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            kill_all(self.processes())
            raise
        assert process.returncode == code, f"{' '.join(command)}: exit code {process.returncode}\n{output}"
        return output

    def read(self, path):
        return json.loads((self.root / path).read_text())

    def lock(self):
        """dvc.lock's stages."""
        return yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]

    def stale(self):
        """Names of the stages that `dvc status` reports, sorted."""
        return sorted(json.loads(self.run("dvc", "status", "--json").splitlines()[-1]))  # warnings come before it

    def processes(self):
        """Every live process that was started in this workspace, however deep."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.root) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def commands(self):
        """(process, command line) of every live process; one that ends meanwhile is left out."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append((process, process.cmdline()))
        return found

    def wait_until_gone(self, seconds=PATIENCE_S):
        """The processes that are still alive after so many seconds: none, if all is well."""
        deadline = time.monotonic() + seconds
        while (left := self.commands()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return [" ".join(command) for _, command in left]

    def leftovers(self):
        """Unfinished outputs: what a killed launcher may leave, and a finished one must not."""
        return sorted(str(path.relative_to(self.root)) for path in (self.root / "artifacts").rglob(".*.tmp-*"))


def free_port(count=1):
    """A free port of 127.0.0.1, or the first of so many in a row.

    It must still be free when a server is there to take it: at random, below what systems give to connections that go out.
    """
    while True:
        first = random.SystemRandom().randrange(10000, 32000)  # not of the tests' generators, which start alike everywhere
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):  # one of them is taken
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return result


def kill_all(processes):
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
