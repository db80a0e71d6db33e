"""What is missing on this machine, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from wmtp.errors import EvaluationError

PACKAGES = ("torch", "transformers", "prefect", "dvc", "mlflow", "omegaconf", "pyarrow")
FREE_BYTES = 5 * 2**30


@dataclass(frozen=True)
class Finding:
    what: str
    is_fine: bool
    detail: str


def examine(folder: Path) -> list[Finding]:
    """Check Python, packages, isolation, git and DVC, disk, and the command's place on PATH."""
    return [_python(), *(_package(name) for name in PACKAGES), *_isolation(), _workspace(folder), _disk(folder), _path()]


def examine_cache(root: Path) -> list[Finding]:
    """Read everything in DVC's cache and in the outputs; what is damaged is removed, and named."""
    from wmtp.orchestration.integrity import drop_damaged

    lines = []
    for one in drop_damaged(root):
        used = ", ".join(one.paths) or "nothing that dvc.lock names"
        mend = "removed: `wmtp run` or `dvc repro` restores it or makes it again"
        lines.append(Finding(one.name, False, f"is not what was written; it is {used}; {mend}"))
    return lines or [Finding("DVC's cache", True, "every object and every output is what was written")]


def _python() -> Finding:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    fine = version in ("3.11", "3.12")
    return Finding("python", fine, version if fine else f"{version}; use 3.11 or 3.12")


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed: pip install -c constraints.txt -e .")


def _isolation() -> list[Finding]:
    """One line, and one more for every probe that the isolation of this machine fails."""
    from wmtp.sandbox.conformance import PROBES, failures
    from wmtp.sandbox.isolation import isolation

    try:
        mode = isolation()
    except EvaluationError as error:
        return [Finding("program isolation", False, str(error))]
    failed = failures(mode)
    text = f"{mode}, {len(PROBES) - len(failed)} of {len(PROBES)} probes"
    lines = [Finding(f"isolation: {one.probe.name}", False, f"{one.probe.line}; saw {one.saw}") for one in failed]
    return [Finding("program isolation", not failed, text), *lines]


def _workspace(folder: Path) -> Finding:
    git = subprocess.run(["git", "rev-parse", "--show-toplevel"], cwd=folder, capture_output=True, text=True, check=False)
    if git.returncode != 0:
        said = (git.stderr.strip().splitlines() or ["git says nothing"])[0].removeprefix("fatal: ")
        return Finding("workspace", False, f"no git repository (DVC needs one): {said}")
    if not (Path(git.stdout.strip()) / ".dvc").is_dir():
        return Finding("workspace", False, "no .dvc folder: dvc init")
    return Finding("workspace", True, git.stdout.strip())


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / 2**30:.0f} GiB free"
    return Finding("disk", free >= FREE_BYTES, text if free >= FREE_BYTES else f"{text}: make room for 5 GiB")


def _path() -> Finding:
    found = shutil.which("wmtp")
    here = Path(sys.executable).parent
    if found is None:
        return Finding("wmtp on PATH", False, f"dvc repro calls it: export PATH={here}{os.pathsep}$PATH")
    return Finding("wmtp on PATH", True, found)
