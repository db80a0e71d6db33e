"""Why a stage failed, in one line: the first cause, out of all that its processes and torchrun say once one of them is gone.

A rank that is missed takes the others with it: they lose their connection within milliseconds, or wait for it until a
collective times out; then torchrun ends whoever is left, with SIGTERM and half a minute later with SIGKILL. None of those is
the cause, although each of them looks like one.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmtp.errors import ConfigError, LaunchError, PreemptedError, WmtpError

TIMED_OUT = re.compile(
    r"timed out waiting|timed out after \d+|wait timeout|watchdog caught collective operation timeout|timeout\(ms\)=",
    re.IGNORECASE,
)
"""What gloo, NCCL and torch's store say of a rank that waited for another one in vain."""
_ABANDONED = re.compile(r"connection (?:was )?(?:closed|reset)|broken pipe|remote process has terminated", re.IGNORECASE)
_WATCHDOG = re.compile(
    r"^\[rank(\d+)\]:\[E[^\n]*watchdog caught collective operation timeout[^\n]*$", re.MULTILINE | re.IGNORECASE
)
"""NCCL's last words on standard error; the process is then aborted and leaves no error of its own."""
_LINE = re.compile(r"^(?:\w*(?:Error|Exception|Interrupt)\b|srun: error: |error: ).*$", re.MULTILINE)
_DEATH = re.compile(r"^ +rank +: (\d+) \(local_rank: \d+\)\s*?\n +exitcode +: (-?\d+) +\(pid: (\d+)\)", re.MULTILINE)
_ENDED_BY_TORCHRUN = re.compile(r"Sending process (\d+) closing signal|Unable to shutdown process (\d+) via")
_ENDINGS = (-signal.SIGTERM, -signal.SIGABRT)
"""Exit codes of ranks that were told to end, or that gave up waiting for one that had died."""
_LEFT = (PreemptedError.exit_code, -signal.SIGTERM)
"""Exit codes of ranks that had notice, and of one that was not up yet."""
_TAKEN_BACK = re.compile(r"CANCELLED AT \S+ DUE TO (?:TIME LIMIT|PREEMPTION|JOB REQUEUE|NODE FAILURE)")
"""Slurm's word on a job that it ends itself. Its ranks' last words are then of each other's end."""
_FIRST = "Root Cause (first observed failure)"


@dataclass(frozen=True)
class Death:
    """A rank's end as torchrun reports it. `was_ended`: by torchrun itself, for another one's sake."""

    rank: int
    code: int
    was_ended: bool


@dataclass(frozen=True)
class Remains:
    """What is left of a stage's processes.

    Attributes:
        errors: what ranks left: rank, type, message, exit_code, time.
        stderr: torchrun's (or the one process's) standard error; log: everything that was said.
        code: the exit code of torchrun or of the one process.
        num_ranks: 0 where the stage has none.
        states: of ranks, when they made no progress: `stopped`, ...
    """

    errors: list[dict[str, Any]]
    stderr: str
    log: str
    code: int
    num_ranks: int
    states: Mapping[int, str]


def read_errors(folder: Path) -> list[dict[str, Any]]:
    """What the ranks of a launch left, the first one first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("rank-*.json")]
    return sorted(found, key=lambda error: float(error["time"]))


def explain(name: str, remains: Remains, where: str) -> WmtpError:
    """The failure as one line; a user's mistake keeps its exit code. `where`: how to find the whole log."""
    death = first_death(remains.stderr)
    primary = [error for error in remains.errors if not _is_consequence(error) and not _is_notice(error)]
    waited, left = _waited(remains), [one for one in remains.errors if _is_notice(one)]
    has_left = (death is None or death.code in _LEFT) and bool(left) and not waited
    if not primary and (has_left or _TAKEN_BACK.search(remains.stderr)):
        return PreemptedError(preempted_at(left), name, "; the next run goes on from there")
    if death is not None and death.code < 0 and death.code not in _ENDINGS:
        text = _killed(f"rank {death.rank}", death.code)
    elif primary:
        first = primary[0]
        if first["exit_code"] == ConfigError.exit_code:  # a mistake in what was given: no rank's
            return ConfigError(f"{name}: {first['message']} ({where})")
        rank = f"rank {first['rank']}: " if remains.num_ranks else ""
        text = f"{rank}{first['type']}: {first['message']}"
    elif waited:
        text = _missed(waited, remains)
    elif remains.errors:
        first = remains.errors[0]
        text = f"rank {first['rank']}: {first['type']}: {first['message']}"
    else:
        text = _silent(death, remains)
    return LaunchError(f"{name}: {text} ({where})")


def first_death(stderr: str) -> Death | None:
    """The rank that died first, from torchrun's report; None where it reports none but those that it ended itself.

    A rank that was killed comes before the first one that torchrun saw: the others' errors, and even crashes in the
    communication library, follow within milliseconds.
    """
    ended = {pid for pids in _ENDED_BY_TORCHRUN.findall(stderr) for pid in pids if pid}
    head, _, tail = stderr.partition(_FIRST)
    seen, others = ([_death(match, ended) for match in _DEATH.finditer(part)] for part in (tail, head))
    deaths = [one for one in (*seen, *others) if not one.was_ended]
    killed = [one for one in deaths if one.code == -signal.SIGKILL]
    crashed = [one for one in deaths if one.code < 0 and one.code not in _ENDINGS]
    failed = [one for one in deaths if one.code > 0]
    return next(iter((*killed, *crashed, *failed, *deaths)), None)


def _death(match: re.Match[str], ended: set[str]) -> Death:
    code = int(match[2])
    was_ended = code in (-signal.SIGTERM, -signal.SIGKILL) and match[3] in ended
    return Death(rank=int(match[1]), code=code, was_ended=was_ended)


def _is_consequence(error: Mapping[str, Any]) -> bool:
    message = str(error["message"])
    return bool(TIMED_OUT.search(message) or _ABANDONED.search(message))


def _is_notice(error: Mapping[str, Any]) -> bool:
    """A rank that had notice: also one that torchrun ended for another one's sake, so it comes after every cause."""
    return error["type"] == PreemptedError.__name__


def preempted_at(errors: list[dict[str, Any]]) -> int | None:
    """The step that the ranks which had notice left a checkpoint of."""
    return next((int(error["step"]) for error in errors if error.get("step") is not None), None)


def _waited(remains: Remains) -> dict[int, str]:
    """The ranks that waited for others in vain, with what they said."""
    aborted = {int(match[1]): match[0] for match in _WATCHDOG.finditer(remains.log)}
    raised = {int(error["rank"]): str(error["message"]) for error in remains.errors if TIMED_OUT.search(str(error["message"]))}
    return dict(sorted((aborted | raised).items()))


def _missed(waited: Mapping[int, str], remains: Remains) -> str:
    """Who waited, for how long, and for whom."""
    who, said = next(iter(waited.items()))
    heard = {*waited, *(int(error["rank"]) for error in remains.errors)}
    silent = [rank for rank in range(remains.num_ranks) if rank not in heard]
    state = {rank: f" (it was {remains.states[rank]})" if rank in remains.states else "" for rank in silent}
    others = ", ".join(f"rank {rank} made no progress{state[rank]}" for rank in silent)
    every = "and no rank was silent: did they take different ways?"
    return (
        f"rank {who} waited for the other ranks until a collective timed out, {others or every} [{said.partition(chr(10))[0]}]"
    )


def _silent(death: Death | None, remains: Remains) -> str:
    """What can be said where no process left an error."""
    who, code = (f"rank {death.rank}", death.code) if death is not None else ("its process", remains.code)
    if code < 0:
        return _killed(who, code)
    lines = _LINE.findall(remains.stderr)
    return f"{who} failed before it could start: {lines[0]}" if lines else f"{who} ended with exit code {code}"


def _killed(who: str, code: int) -> str:
    number = signal.Signals(-code)
    return f"{who} was killed by {number.name}{': out of memory?' if number is signal.SIGKILL else ''}"
