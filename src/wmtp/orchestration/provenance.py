"""Where an artifact came from: `artifacts/provenance/STAGE[/RUN]/provenance.json`, an output beside the stage's others.

DVC caches, restores and pushes it with the artifact that it is about. Nothing depends on it, so the times and the machine in
it make nothing stale.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import wmtp
from wmtp.config import LaunchConfig
from wmtp.files import write_json
from wmtp.orchestration.pipeline import PARAMS, StageSpec

FOLDER = "artifacts/provenance"
_KEPT_APART = (PARAMS, "dvc.lock")
"""Change with every run, and are in the record themselves: the parameters, and the inputs' hashes."""
_PUBLIC = ("launcher", "nnodes", "nproc_per_node", "threads_per_process", "device", "sandbox_workers")
"""How a stage was run, without what may be a secret (environment variables, the tracking store's address)."""


def output(name: str) -> str:
    """The output of dvc.yaml that holds a stage's provenance: `train_policy@rho1-s0` -> `.../train_policy/rho1-s0`."""
    return f"{FOLDER}/{name.replace('@', '/')}"


class Provenance:
    """One run of a stage. Made before its processes start: the code that is recorded is the code that ran.

    Args:
        root: the workspace; spec: the stage with its inputs' hashes; launch: how it is run.
    """

    def __init__(self, root: Path, spec: StageSpec, launch: LaunchConfig) -> None:
        self._record: dict[str, Any] = {
            "stage": spec.name,
            "fingerprint": spec.fingerprint,
            "argv": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "code": {"commit": commit(root), "uncommitted": uncommitted(root)},
            "inputs": {name: value for name, value in spec.inputs.items() if not name.startswith("params:")},
            "params": {
                name.removeprefix("params:"): json.loads(value)
                for name, value in spec.inputs.items()
                if name.startswith("params:")
            },
            "launch": {name: getattr(launch, name) for name in _PUBLIC},
            "versions": versions(),
            "started": _now(),
        }

    def write(self, folder: Path, host: dict[str, Any]) -> None:
        """`folder/provenance.json`; `host` is `host_facts()` of the machine where rank 0 ran."""
        write_json(folder / "provenance.json", self._record | {"ended": _now(), "host": host})


def commit(root: Path) -> str | None:
    """The commit that is checked out; None outside of git, or before the first one."""
    found = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    return found.strip() if found else None


def uncommitted(root: Path) -> list[str] | None:
    """Files that differ from the commit or are not in it, sorted; empty where all is committed, None outside of git."""
    found = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
    if found is None:
        return None
    return sorted(entry[3:] for entry in found.split("\0") if entry and entry[3:] not in _KEPT_APART)


def _git(root: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return None
    return done.stdout if done.returncode == 0 else None


def versions() -> dict[str, str]:
    """Python, wmtp, and every installed package that wmtp names in pyproject.toml, tools of development aside."""
    wanted = [line for line in metadata.requires("wmtp") or () if 'extra == "dev"' not in line]
    named = {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in wanted}
    found = {"python": platform.python_version(), "wmtp": wmtp.__version__}
    for name in sorted(named):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # of an extra that is not installed
            continue
    return found


def host_facts() -> dict[str, Any]:
    """What may matter to a result or its speed, and names neither machine nor user."""
    cpu = re.search(r"^model name\s*: (.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    cards = [_text(path) for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    return {
        "system": platform.platform(),
        "processor": cpu[1] if cpu else platform.machine(),
        "num_cpus": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": [match[1] for match in (re.search(r"^Model:\s*(.+)$", card, re.MULTILINE) for card in cards) if match],
    }


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
