"""Where DVC's cache is: clones that share it share what is kept beside its objects."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wmtp.errors import DataError

_GROUP = 0o070
_MODE = stat.S_ISGID | 0o770


def cache_folder(root: Path) -> Path:
    """The folder of the cache that the workspace uses, as its configuration says; `.wmtp` where there is no DVC."""
    return _configured(root)[0]


def folder_beside_cache(root: Path) -> Path:
    """Where this process may keep what other clones, and other users of a shared cache, can use too.

    With `cache.shared = group` in DVC's configuration, what the process makes from now on is its group's to read and to
    write, whatever its umask says, as DVC's own objects are.

    Raises:
        DataError: the folder cannot be used by this user.
    """
    cache, is_shared = _configured(root)
    folder = cache / "wmtp"
    if is_shared:
        os.umask(os.umask(0) & ~_GROUP)
    try:
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            if is_shared:
                folder.chmod(_MODE)
        wrong = not os.access(folder, os.R_OK | os.W_OK | os.X_OK)
    except PermissionError:
        wrong = True
    if wrong:
        raise DataError(
            f"{folder} cannot be read and written by uid {os.getuid()}: its owner gives it to a group that both are in "
            f"(`chgrp -R GROUP` and `chmod -R g+rwX,g+s` on the cache) and `dvc config --local cache.shared group`"
        )
    return folder


def _configured(root: Path) -> tuple[Path, bool]:
    """The cache's folder, and whether DVC shares it with a group."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            return Path(repo.cache.local_cache_dir), repo.config["cache"].get("shared") == "group"
    except NotDvcRepoError:
        return root / ".wmtp", False
