"""Verdicts that are kept: a program that has run on its tests does not run again.

A verdict is a function of the program, its tests and limits, and of the sandbox; that is its key. Every writer has a journal of
its own in one folder, so that any number of processes and clones share what they know without locks, and a kill costs what
was running.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wmtp.files import Journal, read_journal
from wmtp.types import Limits, Program, Verdict

OnVerdict = Callable[[int, Verdict], None]
RunPrograms = Callable[[Sequence[Program], OnVerdict], list[Verdict]]
"""Runs all programs, in order, and tells of each verdict when it is there."""

DETAIL_CHARACTERS = 300


class VerdictStore:
    """What is known of programs in one version of the sandbox.

    Args:
        folder: shared by all who may profit; made when the first verdict is kept.
        environment: what else a verdict depends on (isolation, packages that programs may import).
    """

    def __init__(self, folder: Path, environment: str = "") -> None:
        self.folder = folder / _version(environment)
        self._known: dict[str, Verdict] = {}
        for path in sorted(self.folder.glob("*.jsonl")):
            self._known |= {record["key"]: _verdict(record) for record in read_journal(path)}

    def __len__(self) -> int:
        return len(self._known)

    def unknown(self, programs: Sequence[Program]) -> int:
        """How many of the programs would run."""
        return len({key_of(program) for program in programs} - self._known.keys())

    def run(self, programs: Sequence[Program], run: RunPrograms) -> list[Verdict]:
        """Every program's verdict; only those that are not known are run, each once, and kept as soon as they are there.

        Kept verdicts have no times.
        """
        keys = [key_of(program) for program in programs]
        missing = {key: program for key, program in zip(keys, programs, strict=True) if key not in self._known}
        if missing:
            order = list(missing)
            with Journal(self.folder / f"{uuid.uuid4().hex}.jsonl") as journal:

                def keep(number: int, verdict: Verdict) -> None:
                    if verdict.status != "sandbox_error":
                        journal.append(_record(order[number], verdict))

                verdicts = run(list(missing.values()), keep)
            self._known |= dict(zip(order, verdicts, strict=True))
        return [self._known[key] for key in keys]


def key_of(program: Program) -> str:
    """A hash of all that decides the verdict; not of the program's name."""
    parts: dict[str, Any] = asdict(program) | {"limits": asdict(program.limits or Limits())}
    del parts["name"]
    parts["kinds"] = [type(test).__name__ for test in program.tests]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _version(environment: str) -> str:
    """Of the sandbox's own code, the interpreter, and what the caller names."""
    version = hashlib.sha256(f"{sys.version} {platform.machine()} {environment}".encode())
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        version.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return version.hexdigest()[:16]


def _record(key: str, verdict: Verdict) -> dict[str, Any]:
    kept = {"status": verdict.status, "num_tests": verdict.num_tests, "num_passed": verdict.num_passed}
    return {"key": key, **kept, "detail": verdict.detail[:DETAIL_CHARACTERS]}


def _verdict(record: dict[str, Any]) -> Verdict:
    return Verdict(record["status"], record["num_tests"], record["num_passed"], detail=record["detail"])
