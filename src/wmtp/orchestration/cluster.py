"""How a stage's processes come to be: one process, torchrun on this machine, or a Slurm job with torchrun on every node.

As a program (`python -m wmtp.orchestration.cluster`) this is a node's agent: srun starts one on each node, they agree on where
to meet, run torchrun, and end with the launcher. The workspace must be on a file system that all nodes share.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from wmtp.config import LaunchConfig
from wmtp.errors import ConfigError, LaunchError, PreemptedError
from wmtp.files import write_text
from wmtp.orchestration import processes, torchrun
from wmtp.orchestration.assignment import ENVIRONMENT, Assignment
from wmtp.orchestration.watch import ask_to_leave, pass_requests_on

STAGE = ("-m", "wmtp.stages")
RENDEZVOUS = "rendezvous"
RENDEZVOUS_SECONDS = 300.0
"""Nodes of one job start within seconds of each other, but a shared file system may show a new file late."""


LAST_STEP_SECONDS = 30.0
"""What ranks have after SIGTERM to take a step and to write a checkpoint; Slurm's KillWait may cut it."""

_ENDED = re.compile(r"CANCELLED AT \S+ \*\*\*|Terminating (?:StepId=|job step )")
"""Of a job that somebody ended (Slurm itself says what it was DUE TO), or that srun ends because one node's agent has ended."""
_RESTARTS = re.compile(r"\bRestarts=(\d+)")


def process_command() -> list[str]:
    """A stage of one process."""
    return [sys.executable, *STAGE]


def torchrun_command(launch: LaunchConfig, token: str, *options: str, endpoint: str = "127.0.0.1:0") -> list[str]:
    """A stage's ranks on one machine; `options` of torchrun's own say where the others are."""
    return [
        sys.executable,
        "-m",
        torchrun.__name__,
        f"--signals-to-handle={torchrun.OTHER_SIGNALS}",
        f"--nnodes={launch.nnodes}",
        f"--nproc-per-node={launch.nproc_per_node}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={endpoint}",
        f"--rdzv-id={token}",
        *(options or ("--local-addr=127.0.0.1",)),
        *STAGE,
    ]


def require_launcher(launch: LaunchConfig) -> None:
    """
    Raises:
        ConfigError: Slurm is to start the stages, and this host cannot ask it.
    """
    if launch.launcher == "slurm" and shutil.which("srun") is None:
        raise ConfigError("launch.launcher=slurm: there is no srun here (one of the cluster's hosts has it)")


def srun_command(launch: LaunchConfig, stage: str, token: str) -> list[str]:
    """A Slurm job (or a step, inside of an allocation) with one agent on each node."""
    return [
        "srun",
        f"--job-name={_job_name(stage, token)}",
        f"--nodes={launch.nnodes}",
        f"--ntasks={launch.nnodes}",
        "--ntasks-per-node=1",
        "--kill-on-bad-exit=1",
        *launch.srun,
        sys.executable,
        "-m",
        "wmtp.orchestration.cluster",
    ]


def cancel_job(stage: str, token: str) -> None:
    """What is left of the job when its srun was killed before it could cancel it."""
    subprocess.run(["scancel", "--quiet", f"--name={_job_name(stage, token)}"], check=False, capture_output=True)


def was_cancelled(stderr: str) -> bool:
    """Whether a person (scancel) ended a job of srun's. What srun itself ends is cancelled too, and it says so before."""
    first = _ENDED.search(stderr)
    return first is not None and first[0].startswith("CANCELLED")


def _shown() -> str:
    """What Slurm says of the job that this process runs in; empty outside of one."""
    if "SLURM_JOB_ID" not in os.environ:
        return ""
    command = ["scontrol", "show", "job", "--oneliner", os.environ["SLURM_JOB_ID"]]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def is_being_requeued() -> bool:
    """Whether Slurm ends the job that this process runs in, to start it again."""
    found = _RESTARTS.search(_shown())
    return found is not None and int(found[1]) > int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def grace_s() -> float:
    """What those that are told to end have for it: the time of a checkpoint where Slurm takes the job back (KillWait)."""
    return LAST_STEP_SECONDS if is_being_requeued() else processes.GRACE_SECONDS


@contextmanager
def requeued_if_preempted() -> Iterator[None]:
    """For an outermost command: a batch job that was told to make room and left (exit code 75) is queued again.

    Only where Slurm may (`--requeue`, or JobRequeue of slurm.conf).
    """
    try:
        yield
    except PreemptedError as notice:
        shown = "" if is_being_requeued() else _shown()
        if "BatchFlag=1" not in shown or "Requeue=1" not in shown:
            raise
        print(f"{notice}; Slurm's job {os.environ['SLURM_JOB_ID']} is requeued", flush=True)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # that is what Slurm sends then, and this process ends anyway
        if subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False).returncode != 0:
            raise
        sys.exit(notice.exit_code)


def _job_name(stage: str, token: str) -> str:
    return f"{stage}-{token[:8]}"


# --------------------------------------------------------------------------------------- a node's agent


def main() -> int:
    assignment = Assignment.from_json(os.environ[ENVIRONMENT])
    token = os.environ[processes.TOKEN]
    signal.signal(signal.SIGUSR1, partial(_pass_notice_on, assignment.folder, token))
    is_first = os.environ["SLURM_NODEID"] == "0"
    endpoint = _meet(assignment.folder / RENDEZVOUS, is_first)
    here = socket.gethostname()
    options = (
        f"--rdzv-conf=is_host={str(is_first).lower()}",
        f"--local-addr={here}",
        f"--node-rank={os.environ['SLURM_NODEID']}",
    )
    os.environ[ENVIRONMENT] = dataclasses.replace(assignment, owner=processes.identity()).to_json()
    processes.interrupt_on_sigterm()
    process = subprocess.Popen(
        torchrun_command(assignment.launch, token, *options, endpoint=endpoint),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=processes.start_below,
    )
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    threading.Thread(target=pass_requests_on, args=(assignment.folder, token), daemon=True).start()
    try:
        return process.wait()
    finally:
        processes.kill_tree(process, grace_s=LAST_STEP_SECONDS)


def _pass_notice_on(folder: Path, token: str, number: int, frame: Any) -> None:
    ask_to_leave(folder, token)


def _end_with_launcher() -> None:
    """Standard input is a pipe from the launcher, through srun: it closes when either has died."""
    while os.read(0, 1024):
        pass
    processes.terminate_self()


def _meet(path: Path, is_first: bool) -> str:
    """`host:port` of the first node, which it writes for the others.

    Raises:
        LaunchError: it did not come in time.
    """
    if is_first:
        with socket.socket() as probe:
            probe.bind(("", 0))
            endpoint = f"{socket.gethostname()}:{probe.getsockname()[1]}"
        write_text(path, endpoint)
        return endpoint
    deadline = time.monotonic() + RENDEZVOUS_SECONDS
    while time.monotonic() < deadline:
        if path.exists():
            return path.read_text(encoding="utf-8")
        time.sleep(0.2)
    raise LaunchError(
        f"{path} did not appear within {RENDEZVOUS_SECONDS:.0f} s: is the workspace on a file system that all nodes share?"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LaunchError as failure:
        sys.exit(f"error: {failure}")
