"""Where DVC's cache is: clones that share it share what is kept beside its objects."""

from __future__ import annotations

from pathlib import Path


def cache_folder(root: Path) -> Path:
    """The folder of the cache that the workspace uses, as its configuration says; `.wmtp` where there is no DVC."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            return Path(repo.cache.local_cache_dir)
    except NotDvcRepoError:
        return root / ".wmtp"
