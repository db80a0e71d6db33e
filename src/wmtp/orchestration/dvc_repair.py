"""What a kill in the middle of DVC's own writing leaves behind. DVC writes its two books in place; neither is lost for good.

`.dvc/tmp/rwlock` names the processes that use a file now. `dvc.lock` takes DVC a second to write for some dozen stages;
its run cache knows every stage's result by the stage's inputs, so everything is restored when dvc.lock is gone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

LOCKFILE = "dvc.lock"
_MERGE_MARK = b"\n<<<<<<< "


def mend(root: Path, error: Exception) -> bool:
    """Put the half-written book that `error` is about out of the way. False if it is about none, or not ours to mend."""
    from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError

    if isinstance(error, RWLockFileCorruptedError | RWLockFileFormatError):
        drop_broken_rwlock(root)
        return True
    return os.path.basename(getattr(error, "path", "")) == LOCKFILE and _set_aside_lockfile(root)


def drop_broken_rwlock(root: Path) -> None:
    """Who uses which file is known again from the next command on; a kill's own entries were void anyway."""
    from dvc.lock import make_lock
    from dvc.repo import Repo
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA
    from voluptuous import Invalid

    with Repo(str(root)) as repo:
        folder, is_hardlink = Path(str(repo.tmp_dir)), bool(repo.config["core"].get("hardlink_lock"))
        with make_lock(str(folder / RWLOCK_LOCK), tmp_dir=str(folder), hardlink_lock=is_hardlink, wait=True):
            try:
                SCHEMA(json.loads((folder / RWLOCK_FILE).read_text(encoding="utf-8")))
            except FileNotFoundError:
                pass
            except (ValueError, Invalid):
                (folder / RWLOCK_FILE).unlink()


def _set_aside_lockfile(root: Path) -> bool:
    """What a merge left is the user's to resolve, and stays."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    path = root / LOCKFILE
    with Repo(str(root), _wait_for_lock=True) as repo, repo.lock:
        try:
            repo.index.stages  # noqa: B018 -- it was being written, and now it is whole
        except DvcException:
            if _MERGE_MARK in b"\n" + path.read_bytes():
                return False
            kept = root / ".wmtp" / f"{LOCKFILE}.broken-{time.strftime('%Y%m%d-%H%M%S')}"
            kept.parent.mkdir(exist_ok=True)
            os.replace(path, kept)
            print(
                f"{LOCKFILE} was half written: moved to {kept.relative_to(root)}; DVC's cache restores the results",
                file=sys.stderr,
            )
    return True
