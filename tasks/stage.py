"""One Prefect task per stage. DVC alone judges: the task asks it in process, and has it run what is stale."""

from __future__ import annotations

import json
import logging
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
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import get_client, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException
from prefect.states import Cancelled, Completed, Failed, Running

from tasks.publish import SHELF, ProgressArtifact, publish_stage
from tasks.telling import BEGINS, CANCELLED, ENDINGS, ENDS, LINE, a
from wmtp.orchestration import books, cluster, own_code, processes
from wmtp.orchestration.assignment import ENVIRONMENT
from wmtp.orchestration.pipeline import judge
from wmtp.orchestration.watch import GOES_ON_LINE, STALL_LINE
from wmtp.progress import progress_path

CONCURRENT_STAGES = 4
"""Stages running at once; those that need an accelerator also wait for a slot of the machine, see configs/launch/."""

NOTICE_LINE = re.compile(r"^\S+: preempted\b")
"""A stage was told to make room: it is queued again by its launcher, or it has left."""

MENDABLE = re.compile(r"was killed by|EADDRINUSE|address already in use|the next try", re.IGNORECASE)
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

PREEMPTED = "Preempted"
"""Name of the state, of type Cancelled, of a stage or a run that was told to make room."""

_room = threading.BoundedSemaphore(CONCURRENT_STAGES)
_guard = threading.Lock()
_running: dict[int, subprocess.Popen[str]] = {}
_stopping, _leaving, _going = threading.Event(), threading.Event(), threading.Event()
_going.set()


@dataclass
class _Outcome:
    """What became of one `dvc repro`; `cause` is None where it went well.

    `has_begun`: its command did. `is_cancelled`: it was told to stop; what its exit code says then is anything. `notice`: the
    last that was said of its having been preempted; with a `cause` it has left.
    """

    was_restored: bool = False
    has_begun: bool = False
    cause: str | None = None
    is_cancelled: bool = False
    notice: str | None = None


class _SaidOnce(logging.Filter):
    """Prefect reports a state that a task returns twice: with a traceback of nothing, and as what it finished in.

    That is an error for it whatever is not completed; who was told to end made none.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        if said.startswith(("Finished in state Cancelled(", f"Finished in state {PREEMPTED}(")):
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        return not said.startswith("Task run failed with state: ")


logging.getLogger("prefect.task_runs").addFilter(_SaidOnce())


@task(name="stage", task_run_name="{stage}", cache_policy=NO_CACHE, persist_result=False, retries=0)
def run_stage(stage: str, root: str, force: bool, pull: bool) -> State[Any]:
    """Bring one stage up to date: Completed (ran), Cached (up to date or restored), Failed, Cancelled or, as a kind of it,
    Preempted, with the reason.

    Args:
        pull: outputs that are known, and that DVC's cache lacks, come from its default remote where that has them.
    """
    state = _bring_up_to_date(stage, Path(root), force, pull)
    said = str(state.message).removeprefix(f"{stage}: ")
    is_done = state.is_completed() and state.name != "Cached"
    text = "done" if is_done else f"failed: {said}" if state.is_failed() else said
    ENDINGS.info(text, extra=a(ENDS, task_run_name=stage))
    return state


def _bring_up_to_date(stage: str, folder: Path, force: bool, pull: bool) -> State[Any]:
    logger = get_run_logger()
    with _room, _alone(folder, stage):
        judgement = judge(folder, stage, look_up_cache=pull)
        if judgement.is_fresh and not force:
            publish_stage(stage, folder)
            return Completed(name="Cached", message="up to date")
        reason = "forced" if judgement.is_fresh else judgement.brief
        logger.info("%s: %s", stage, reason, extra=a(BEGINS))
        is_elsewhere = judgement.is_known and not judgement.can_restore and not force
        outcome = _repro(folder, stage, force, pull=is_elsewhere)
        if outcome.cause is not None and outcome.notice is not None:
            return Cancelled(name=PREEMPTED, message=outcome.notice)
        if is_elsewhere and outcome.cause is not None and not outcome.has_begun and not outcome.is_cancelled:
            refused = "the default remote does not give the outputs of %s (%s), so it runs"
            logger.warning(refused, stage, outcome.cause, extra=a(LINE))
            outcome = _repro(folder, stage, force)
        if outcome.cause is not None and MENDABLE.search(outcome.cause) and not outcome.is_cancelled:
            logger.warning("%s; trying once more from the last checkpoint", outcome.cause, extra=a(LINE))
            outcome = _repro(folder, stage, force)
        if outcome.is_cancelled:
            return Cancelled(message=CANCELLED)
        if outcome.cause is not None:
            return Failed(message=outcome.cause)
        publish_stage(stage, folder)
        if outcome.was_restored:
            place = "the default remote" if is_elsewhere else "DVC's cache"
            return Completed(name="Cached", message=f"restored from {place}: {reason}")
        return Completed(message=f"ran: {reason}")


def begin() -> None:
    """Let stages start (again, where one process runs several flows)."""
    _stopping.clear()
    _leaving.clear()
    SHELF.forget()


def pause() -> None:
    """Stop what computes for the stages, and let no other start, until `go_on`. Whoever watches over them goes on."""
    if _going.is_set():
        _going.clear()
        threading.Thread(target=_keep_paused, daemon=True, name="pause").start()


def go_on() -> None:
    _going.set()


def leave() -> None:
    """Have the stages make room (see `wmtp.notice`), and let no other start."""
    if not _leaving.is_set():
        _leaving.set()
        threading.Thread(target=_keep_asking, daemon=True, name="leave").start()


def _keep_asking() -> None:
    while _leaving.is_set():  # again and again: a launcher may be about to start
        with _guard:
            running = list(_running.values())
        for process in running:
            processes.send_below(process, processes.OWNER, signal.SIGUSR1)
        time.sleep(_POLL_SECONDS)


def _keep_paused() -> None:
    while not _going.is_set():  # again and again: a stage may have been about to start its ranks
        _send_ranks(signal.SIGSTOP)
        _going.wait(1.0)
    _send_ranks(signal.SIGCONT)


def _send_ranks(number: int) -> None:
    with _guard:
        running = list(_running.values())
    for process in running:
        processes.send_below(process, ENVIRONMENT, number)


def stop_all() -> None:
    """End every stage that this process started, with all its processes, and let no other start."""
    _stopping.set()
    _going.set()
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


def _repro(root: Path, stage: str, force: bool, *, pull: bool = False) -> _Outcome:
    logger, outcome, errors = get_run_logger(), _Outcome(), list[str]()
    with _process(root, stage, ["--force"] * force + ["--pull"] * pull) as process:
        if process is None:
            notice = f"{stage}: preempted before it began" if _leaving.is_set() else None
            return _Outcome(is_cancelled=True, cause="not started", notice=notice)
        with processes.beside(partial(_follow, root, stage), "follow-progress"):
            assert process.stdout is not None
            for line in process.stdout:
                text = line.rstrip()
                outcome.was_restored |= "is cached - skipping run" in text or text.startswith("Pulling data for")
                outcome.has_begun |= text.startswith("Running stage")
                if text.startswith(("error: ", "ERROR: ")):
                    errors.append(text.partition(": ")[2])
                    outcome.notice = outcome.notice if text.startswith("E") else None  # DVC's only says that its command failed
                elif NOTICE_LINE.match(text):
                    logger.warning(text, extra=a(LINE))
                    outcome.notice = text
                    _show_state(Running(name=PREEMPTED, message=text))
                elif STALL_LINE.match(text):
                    logger.warning(text, extra=a(LINE))
                    _show_state(Running(name="NoProgress", message=text))
                elif text and not text.startswith(_DVC_CHATTER):
                    logger.info(text, extra=a(LINE))
                    if GOES_ON_LINE.match(text):
                        _show_state(Running(message=text))
            code = process.wait()
    outcome.is_cancelled = _stopping.is_set()
    outcome.was_restored &= not outcome.has_begun
    if code != 0:  # said once, as the state's message; DVC's own error after it only says that its command failed
        outcome.cause = (errors or [f"dvc repro ended with exit code {code}"])[0]
    return outcome


def _show_state(state: State[Any]) -> None:
    """For whoever looks at the task in the UI; it goes on, or ends, whatever becomes of this."""
    with best_effort() as client:
        client.set_task_run_state(UUID(str(runtime.task_run.id)), state, force=True)


def show_flow_state(state: State[Any]) -> None:
    """The same for the flow run."""
    with best_effort() as client:
        client.set_flow_run_state(UUID(str(runtime.flow_run.id)), state, force=True)


@contextmanager
def best_effort() -> Iterator[SyncPrefectClient]:
    """The server, for what may be left undone where it does not answer."""
    try:
        with get_client(sync_client=True) as client:
            yield client
    except (httpx.HTTPError, PrefectException) as error:
        get_run_logger().debug("the server does not answer: %s", error)


@contextmanager
def _process(root: Path, stage: str, options: list[str]) -> Iterator[subprocess.Popen[str] | None]:
    """`dvc repro` of one stage in a process group of its own; nothing of it is left when the block ends."""
    _going.wait()
    with _guard:
        process = None
        if not (_stopping.is_set() or _leaving.is_set()):
            process = subprocess.Popen(
                [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", *options, stage],
                cwd=root,
                env=_environment(root),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                preexec_fn=processes.ignore_notice,
            )
            _running[process.pid] = process
    try:
        yield process
    finally:
        if process is not None:
            _end(process)
            with _guard:
                del _running[process.pid]
            if _stopping.is_set() or process.returncode < 0:
                books.put_in_order(root)


def _end(process: subprocess.Popen[str]) -> None:
    """DVC gets SIGINT: it ignores that while its command runs, and when the command has ended it puts its books in order."""
    processes.kill_tree(process, grace_s=cluster.grace_s(), head=signal.SIGINT)


def _environment(root: Path) -> dict[str, str]:
    """dvc.yaml's commands find `wmtp`, and the stage knows whose death ends it and which flow run it belongs to."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {
        **own_code.environment(root, os.environ),
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        processes.OWNER: processes.identity(),
        "WMTP_FLOW_RUN_ID": str(runtime.flow_run.id or ""),
    }


def _follow(root: Path, stage: str, done: threading.Event) -> None:
    """Mirror the stage's progress file in a progress artifact of this task run."""
    path = progress_path(root, stage)
    artifact: ProgressArtifact | None = None
    started, percent = time.time(), 0.0
    while not done.wait(_POLL_SECONDS):
        try:
            if path.stat().st_mtime < started:
                continue
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        artifact = artifact or ProgressArtifact(root, stage)
        artifact.show(record)
        percent = 100.0 * record["step"] / max(1, record["total"])
    if artifact is not None:
        artifact.finish(f"{stage} ended", 100.0 if not path.exists() else percent)
