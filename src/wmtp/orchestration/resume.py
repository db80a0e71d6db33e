"""What an interrupted stage goes on from, and when it has served: `.wmtp/resume/STAGE-FINGERPRINT/`.

A stage whose processes have ended well is not done yet: DVC has still to take its outputs over and to write dvc.lock. A kill
before that makes the stage stale, so what it could go on from stays until dvc.lock records the result.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from wmtp.files import write_text
from wmtp.orchestration.pipeline import StageSpec, recorded

KEPT_FOLDERS = 3
"""Of other parameters, inputs or code, the newest ones: for whoever turns back to them."""
_FINISHED = "finished"
_DIGITS = 16


def _all(root: Path) -> Path:
    return root / ".wmtp" / "resume"


def folder_of(root: Path, spec: StageSpec) -> Path:
    """Where the stage leaves what it can go on from, and finds it again. Created by whoever writes to it."""
    return _all(root) / f"{spec.name}-{spec.fingerprint[:_DIGITS]}"


def prepare(root: Path, spec: StageSpec) -> Path:
    """The folder for a run that starts now; what nobody will go on from any more is removed."""
    folder = folder_of(root, spec)
    _all(root).mkdir(parents=True, exist_ok=True)
    forget_recorded(root)
    (folder / _FINISHED).unlink(missing_ok=True)  # killed before DVC knew of it: this run goes on from there
    others = sorted(_all(root).glob(f"{spec.name}-*"), key=lambda path: path.stat().st_mtime)
    for path in [path for path in others if path != folder][:-KEPT_FOLDERS]:
        shutil.rmtree(path, ignore_errors=True)
    return folder


def finish(folder: Path) -> None:
    """The stage's outputs have their final names."""
    if folder.is_dir():
        write_text(folder / _FINISHED, "")


def forget_recorded(root: Path) -> None:
    """Remove what belongs to finished runs whose results dvc.lock records."""
    finished = [path.parent for path in _all(root).glob(f"*/{_FINISHED}")]
    known = recorded(root) if finished else {}
    for folder in finished:
        stage, _, digits = folder.name.rpartition("-")
        if known.get(stage, "")[:_DIGITS] == digits:
            shutil.rmtree(folder, ignore_errors=True)
