"""A stage's parent: checks, starts its processes, watches them, and moves finished outputs to their final names.

What is up to date is DVC's business; this runs one stage, now, completely or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmtp.config import LaunchConfig, load_launch, read_params
from wmtp.errors import ConfigError, LaunchError, WmtpError

if TYPE_CHECKING:
    from wmtp.config import Config

DISTRIBUTED = ("tune_reference", "score_reference", "train_critic", "score_values", "train_policy", "evaluate")
"""Stages that run under torchrun; the others are one process."""

GRACE_S = 5.0


@dataclass(frozen=True)
class StageSpec:
    """A stage as dvc.yaml has it, interpolated."""

    name: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]


def find_root(start: Path | None = None) -> Path:
    """The workspace: the nearest folder upwards with dvc.yaml and configs/.

    Raises:
        ConfigError: there is none.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "configs").is_dir():
            return folder
    raise ConfigError(f"{here} is not inside a wmtp workspace (a folder with dvc.yaml and configs/)")


def read_spec(root: Path, name: str) -> StageSpec:
    """The stage from DVC itself.

    Raises:
        ConfigError: dvc.yaml has no such stage; the nearest name is given.
    """
    from dvc.dependency.param import ParamsDependency
    from dvc.repo import Repo

    from wmtp.config.compose import nearest

    with Repo(str(root)) as repo:
        stages = {stage.addressing: stage for stage in repo.index.stages}
        if name not in stages:
            raise ConfigError(f"unknown stage {name!r}{nearest(name, stages)}")
        stage = stages[name]
        params = [str(key) for dep in stage.deps if isinstance(dep, ParamsDependency) for key in dep.params]
        deps = [dep.def_path for dep in stage.deps if not isinstance(dep, ParamsDependency)]
        return StageSpec(name, tuple(sorted(set(deps))), tuple(sorted(params)), tuple(out.def_path for out in stage.outs))


def fingerprint(root: Path, spec: StageSpec, config: Config) -> str:
    """Hash of everything that decides the stage's result: its parameters and the content of its dependencies."""
    import dataclasses

    digest = hashlib.sha256()
    plain = dataclasses.asdict(config)
    for key in spec.params:
        value: Any = plain
        for part in key.split("."):
            value = value[part]
        digest.update(f"{key}={json.dumps(value, sort_keys=True)}\n".encode())
    for dep in spec.deps:
        path = root / dep
        if not path.exists():
            raise ConfigError(f"{spec.name} needs {dep}, which does not exist: run the stage that makes it (dvc repro {spec.name})")
        files = sorted(f for f in path.rglob("*") if f.is_file() and "__pycache__" not in f.parts) if path.is_dir() else [path]
        for file in files:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"{file.relative_to(root) if file.is_relative_to(root) else file} {content}\n".encode())
    return digest.hexdigest()


def run_stage(name: str, root: Path) -> None:
    """Run one stage to its end.

    Raises:
        ConfigError: bad parameters, an unknown stage or a missing input, before anything is started.
        LaunchError: a process failed (rank, exception, log file), or an input changed while the stage ran.
    """
    config, launch = read_params(root / "params.yaml"), load_launch(root)
    spec = read_spec(root, name)
    with ExitStack() as stack:
        stack.enter_context(_locked(root / ".wmtp" / "locks" / f"{name}.lock"))
        before = fingerprint(root, spec, config)
        if name.partition("@")[0] in DISTRIBUTED:
            stack.enter_context(_slot(root, launch.slots))
        temporaries = {out: _temporary(root / out, before) for out in spec.outs}
        stack.callback(_remove, list(temporaries.values()))
        for path in temporaries.values():
            _remove([path])
            path.mkdir(parents=True)
        resume = root / ".wmtp" / "resume" / f"{name}-{before[:16]}"
        _Children(root, name, launch).run(config, before, temporaries, resume)
        if fingerprint(root, spec, read_params(root / "params.yaml")) != before:
            raise LaunchError(
                f"{name}: its parameters, code or inputs changed while it ran; its result is discarded, run it again "
                f"(training goes on from its last checkpoint if you change them back)"
            )
        for out, path in temporaries.items():
            _finalise(path, root / out)
        _remove([resume])


def _temporary(final: Path, mark: str) -> Path:
    return final.with_name(f".{final.name}.tmp-{mark[:8]}")


def _remove(paths: list[Path]) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def _finalise(temporary: Path, final: Path) -> None:
    """fsync every file, then swap the folder in: the final name holds the old output or the new one, never a part."""
    for file in (f for f in temporary.rglob("*") if f.is_file()):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    old = final.with_name(f".{final.name}.old")
    _remove([old])
    if final.exists():
        os.rename(final, old)
    os.rename(temporary, final)
    _remove([old])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


@contextmanager
def _slot(root: Path, slots: int) -> Iterator[None]:
    """One of the machine's accelerator slots: file locks outside the workspace, released by the kernel on any death."""
    from filelock import FileLock, Timeout

    folder = Path(os.environ.get("WMTP_SLOT_DIR", f"/tmp/wmtp-slots-{os.getuid()}"))
    folder.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        for number in range(slots):
            lock = FileLock(folder / f"{number}.lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:
                continue
            try:
                yield
            finally:
                lock.release()
            return
        if not waiting:
            print(f"waiting for one of {slots} accelerator slot(s)", flush=True)
            waiting = True
        time.sleep(0.2)


class _Children:
    """The stage's process tree."""

    def __init__(self, root: Path, name: str, launch: LaunchConfig) -> None:
        self.root, self.name, self.launch = root, name, launch
        self.log = root / ".wmtp" / "logs" / f"{name}.log"
        self.errors = root / ".wmtp" / "errors" / name

    def run(self, config: Config, mark: str, temporaries: dict[str, Path], resume: Path) -> None:
        for folder in (self.log.parent, self.errors.parent, resume.parent):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.errors, ignore_errors=True)
        self.errors.mkdir()
        context = {
            "name": self.name,
            "root": str(self.root),
            "outputs": {out: str(path) for out, path in temporaries.items()},
            "resume": str(resume),
            "fingerprint": mark,
            "errors": str(self.errors),
            "owner": os.getpid(),
        }
        process = subprocess.Popen(
            self._command(),
            cwd=self.root,
            env=self._environment(context),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        with _killing(process), self.log.open("w", encoding="utf-8") as log:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                if not _is_plumbing(line):
                    print(line, end="", flush=True)
            code = process.wait()
        if code != 0:
            raise self._failure(code)

    def _command(self) -> list[str]:
        module = ["-m", "wmtp.stages"]
        if self.name.partition("@")[0] not in DISTRIBUTED:
            return [sys.executable, *module]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return [
            sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={self.launch.nproc_per_node}", "--nnodes=1",
            "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--local-addr=127.0.0.1", *module,
        ]  # fmt: skip

    def _environment(self, context: dict[str, Any]) -> dict[str, str]:
        threads = str(self.launch.threads_per_process)
        return {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OMP_WAIT_POLICY": "PASSIVE",
            "MALLOC_MMAP_THRESHOLD_": "268435456",
            "MALLOC_TRIM_THRESHOLD_": "268435456",
            "PYTHONUNBUFFERED": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
            **self.launch.env,
            "WMTP_CONTEXT": json.dumps(context),
        }

    def _failure(self, code: int) -> WmtpError:
        """The first rank's error in one line; a config error keeps its exit code."""
        found = []
        for path in sorted(self.errors.glob("rank-*.json")):
            found.append(json.loads(path.read_text(encoding="utf-8")))
        found.sort(key=lambda error: error["time"])
        where = f"the whole log is {self.log.relative_to(self.root)}"
        if not found:
            return LaunchError(f"{self.name}: a process died without a message (exit code {code}: killed or out of memory?); {where}")
        first = found[0]
        text = f"{self.name}: rank {first['rank']}: {first['type']}: {first['message']}; {where}"
        return ConfigError(text) if first["exit_code"] == ConfigError.exit_code else LaunchError(text)


def _is_plumbing(line: str) -> bool:
    """torchrun's own chatter, which a user cannot act on (it stays in the log file)."""
    return "torch/distributed/" in line or "torch.distributed.elastic" in line or line.startswith("[Gloo]")


@contextmanager
def _killing(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever ends this block ends the whole process tree: an exception, Ctrl-C, SIGTERM."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        kill_tree(process.pid)
        process.wait()
        signal.signal(signal.SIGTERM, previous)


def kill_tree(pid: int, grace_s: float = GRACE_S) -> None:
    """SIGTERM, then SIGKILL, for a process and everything below it, also what left its process group."""
    import psutil

    try:
        parent = psutil.Process(pid)
        tree = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for process in tree:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(tree, timeout=grace_s)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=grace_s)


def _signal(process: Any, number: int) -> None:
    import psutil

    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass
