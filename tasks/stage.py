"""One Prefect task per stage. DVC alone judges: the task asks it in process, and has it run what is stale."""

from __future__ import annotations

import contextvars
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from tasks.publish import ProgressArtifact, publish_stage
from wmtp.orchestration import processes
from wmtp.orchestration.launch import OWNER
from wmtp.orchestration.pipeline import judge
from wmtp.progress import progress_path

CONCURRENT_STAGES = 4
"""Stages running at once; those that need an accelerator also wait for a slot of the machine, see configs/launch/."""

MENDABLE = re.compile(r"was killed by|EADDRINUSE|address already in use", re.IGNORECASE)
"""Failures that a second try can mend (the stage goes on from its last checkpoint). A bad config or NaN is not one."""

_DVC_CHATTER = (
    "To track the changes with git",
    "\tgit add",
    "To enable auto staging",
    "\tdvc config",
    "Use `dvc push`",
    "> wmtp",
)
_POLL_SECONDS = 2.0

_room = threading.BoundedSemaphore(CONCURRENT_STAGES)
_guard, _judging = threading.Lock(), threading.Lock()
_running: dict[int, subprocess.Popen[str]] = {}
_stopping = threading.Event()


@dataclass
class _Outcome:
    """What became of one `dvc repro`; `cause` is None where it went well.

    `is_cancelled`: it was told to stop; what its exit code says then is anything.
    """

    was_restored: bool = False
    cause: str | None = None
    is_cancelled: bool = False


@task(name="stage", task_run_name="{stage}", cache_policy=NO_CACHE, persist_result=False, retries=0)
def run_stage(stage: str, root: str, force: bool) -> State[Any]:
    """Bring one stage up to date: Completed (ran), Cached (up to date or restored), Failed or Cancelled, with the reason."""
    logger, folder = get_run_logger(), Path(root)
    with _room, _alone(folder, stage):
        with _judging:  # one at a time: a check takes tens of milliseconds, and DVC's state is not made for threads
            judgement = judge(folder, stage)
        if judgement.is_fresh and not force:
            publish_stage(stage, folder)
            return Completed(name="Cached", message="up to date")
        reason = "forced" if judgement.is_fresh else judgement.reason
        logger.info("%s: %s", stage, reason)
        outcome = _repro(folder, stage, force)
        if outcome.cause is not None and MENDABLE.search(outcome.cause) and not outcome.is_cancelled:
            logger.warning("%s; trying once more from the last checkpoint", outcome.cause)
            outcome = _repro(folder, stage, force)
        if outcome.is_cancelled:
            return Cancelled(message="cancelled; the next run goes on where this one stopped")
        if outcome.cause is not None:
            return Failed(message=outcome.cause)
        publish_stage(stage, folder)
        if outcome.was_restored:
            return Completed(name="Cached", message=f"restored from DVC's cache: {reason}")
        return Completed(message=f"ran: {reason}")


def begin() -> None:
    """Let stages start (again, where one process runs several flows)."""
    _stopping.clear()


def stop_all() -> None:
    """End every stage that this process started, with all its processes, and let no other start."""
    _stopping.set()
    with _guard:
        running = list(_running.values())
    threads = [threading.Thread(target=_end, args=(process,)) for process in running]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def _alone(root: Path, stage: str) -> Iterator[None]:
    """Check and run are one step: a second flow waits here and then finds the stage up to date."""
    from filelock import FileLock

    folder = root / ".wmtp" / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{stage}.task.lock"):
        yield


def _repro(root: Path, stage: str, force: bool) -> _Outcome:
    logger, outcome, errors = get_run_logger(), _Outcome(), list[str]()
    with _process(root, stage, force) as process:
        if process is None:
            return _Outcome(is_cancelled=True)
        with _followed(root, stage):
            assert process.stdout is not None
            for line in process.stdout:
                text = line.rstrip()
                outcome.was_restored |= "is cached - skipping run" in text
                if text.startswith(("error: ", "ERROR: ")):
                    errors.append(text.partition(": ")[2])
                if text and not text.startswith(_DVC_CHATTER):
                    logger.info(text)
            code = process.wait()
    outcome.is_cancelled = _stopping.is_set()
    if code != 0:
        outcome.cause = (errors or [f"dvc repro ended with exit code {code}"])[0]
    return outcome


@contextmanager
def _process(root: Path, stage: str, force: bool) -> Iterator[subprocess.Popen[str] | None]:
    """`dvc repro` of one stage in a process group of its own; nothing of it is left when the block ends."""
    options = ["--single-item", *(["--force"] if force else [])]
    with _guard:
        process = None
        if not _stopping.is_set():
            process = subprocess.Popen(
                [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *options, stage],
                cwd=root,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            _running[process.pid] = process
    try:
        yield process
    finally:
        if process is not None:
            _end(process)
            with _guard:
                del _running[process.pid]


def _end(process: subprocess.Popen[str]) -> None:
    """DVC gets SIGINT: it ignores that while its command runs, and when the command has ended it puts its books in order."""
    processes.kill_tree(process, head=signal.SIGINT)


def _environment() -> dict[str, str]:
    """dvc.yaml's commands find `wmtp`, and the stage knows whose death ends it and which flow run it belongs to."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {
        **os.environ,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        OWNER: processes.identity(),
        "WMTP_FLOW_RUN_ID": str(runtime.flow_run.id or ""),
    }


@contextmanager
def _followed(root: Path, stage: str) -> Iterator[None]:
    """Mirror the stage's progress file in a progress artifact (of this task run: the thread gets its context)."""
    done = threading.Event()
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(_follow, progress_path(root, stage), stage, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _follow(path: Path, stage: str, done: threading.Event) -> None:
    artifact: ProgressArtifact | None = None
    started, percent = time.time(), 0.0
    while not done.wait(_POLL_SECONDS):
        try:
            if path.stat().st_mtime < started:
                continue
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        artifact = artifact or ProgressArtifact(stage)
        artifact.show(record)
        percent = 100.0 * record["step"] / max(1, record["total"])
    if artifact is not None:
        artifact.finish(f"{stage} ended", 100.0 if not path.exists() else percent)
