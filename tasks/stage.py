"""One Prefect task per DVC stage. DVC is asked whether the stage is up to date, and DVC runs it when it is not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

from tasks.publish import StageProgress
from wmtp.launch import kill_tree

_DVC = threading.RLock()
"""DVC's repository objects are not made for threads."""


@dataclass(frozen=True)
class Graph:
    """Stages in an order that respects their edges; `upstream[s]` are the stages whose outputs s reads."""

    order: tuple[str, ...]
    upstream: dict[str, tuple[str, ...]]


def read_graph(root: Path) -> Graph:
    """The pipeline as DVC sees it."""
    import networkx
    from dvc.repo import Repo

    with _DVC, Repo(str(root)) as repo:
        graph = repo.index.graph  # edges point upstream
        order = tuple(stage.addressing for stage in reversed(list(networkx.topological_sort(graph))))
        upstream = {stage.addressing: tuple(sorted(s.addressing for s in graph.successors(stage))) for stage in graph}
    return Graph(order, upstream)


def is_changed(root: Path, name: str) -> bool:
    """DVC's own answer."""
    from dvc.repo import Repo

    with _DVC, Repo(str(root), _wait_for_lock=True) as repo:
        (stage,) = (s for s in repo.index.stages if s.addressing == name)
        with repo.lock:
            return bool(stage.changed())


def status(root: Path) -> dict[str, list[Any]]:
    """What changed, per stale stage, in DVC's words."""
    from dvc.repo import Repo

    with _DVC, Repo(str(root), _wait_for_lock=True) as repo:
        result: dict[str, list[Any]] = repo.status()
    return result


@task(cache_policy=NO_CACHE, retries=0, task_run_name="{name}")
def run_stage(name: str, root: str, force: bool = False) -> State[Any]:
    """Bring one stage up to date.

    Returns:
        Cached (up to date, or restored from DVC's cache), Completed, or Failed with the cause as its message.
    """
    logger = get_run_logger()
    folder = Path(root)
    if not force and not is_changed(folder, name):
        return Completed(name="Cached", message="up to date")
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", *(["--force"] if force else []), name]
    lines: list[str] = []
    with _process(command, folder) as process, StageProgress(name, folder):
        assert process.stdout is not None
        for line in process.stdout:
            text = line.rstrip()
            if text:
                lines.append(text)
                logger.info(text)
        code = process.wait()
    if code != 0:
        return Failed(message=_cause(lines, code))
    if any("is cached - skipping run" in line for line in lines):
        return Completed(name="Cached", message="restored from the DVC cache, nothing was computed")
    return Completed(message="ran")


def _cause(lines: list[str], code: int) -> str:
    """The stage's own error line, or DVC's last one."""
    own = [line for line in lines if line.startswith("error: ")]
    dvc = [line for line in lines if line.startswith("ERROR: ")]
    return own[-1].removeprefix("error: ") if own else dvc[-1].removeprefix("ERROR: ") if dvc else f"dvc repro ended with code {code}"


@contextmanager
def _process(command: list[str], root: Path) -> Iterator[subprocess.Popen[str]]:
    """A subprocess whose whole tree ends with this block, however that ends."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    process = subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "DVC_NO_ANALYTICS": "1", "WMTP_OWNER": str(os.getpid())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    _RUNNING.add(process.pid)
    try:
        yield process
    finally:
        if process.poll() is None:
            kill_tree(process.pid)
        process.wait()
        _RUNNING.discard(process.pid)


_RUNNING: set[int] = set()


def kill_running() -> None:
    """End every stage that is at work: for Ctrl-C and cancellation, which threads do not notice."""
    for pid in list(_RUNNING):
        kill_tree(pid)
