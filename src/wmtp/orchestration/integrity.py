"""Whether files still hold the bytes that DVC hashed.

DVC knows a file by its inode, size and time, and an object of its cache by its name: a bit that a disk or a careless program
turns stays unseen, and what is restored from the cache is called up to date.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmtp.errors import LaunchError
from wmtp.orchestration.books import ask

_THREADS = 8
_SHOWN = 3
_DIR = ".dir"
_OBJECT = re.compile(r"[0-9a-f]{30}(?:\.dir)?")


@dataclass(frozen=True)
class Damaged:
    """An object of DVC's cache, or a file of the workspace, that is not what it was.

    `paths`: what it was in this workspace (none: it belongs to other parameters or another commit).
    """

    name: str
    paths: tuple[str, ...]


def require_intact(root: Path, name: str, deps: Iterable[str]) -> None:
    """Read everything that a stage is about to read, and compare.

    Args:
        deps: files and folders, relative to `root`.
    Raises:
        LaunchError: a file that DVC takes to be unchanged has changed.
    """
    wrong = _different(_believed(root, deps))
    if wrong:
        shown = ", ".join(str(path.relative_to(root)) for path in wrong[:_SHOWN])
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise LaunchError(
            f"{name}: {shown}{more} is not what was written (a disk's or a program's fault, which DVC does not see): "
            f"`wmtp doctor --cache` removes what is damaged, and the next run restores it or makes it again"
        )


def drop_damaged(root: Path) -> list[Damaged]:
    """Read all of the workspace's DVC cache and outputs, and remove what is not what its name or DVC's note says.

    A file of the workspace goes with the object that it is a link to, so that DVC sees that it must be made again.
    """
    cache, used = ask(root, lambda repo: (Path(str(repo.cache.local.path)), _users(repo)))
    found = [_drop_object(root, path, used) for path in _different(_objects(cache))]
    outs = sorted({name for names in used.values() for name in names})
    for path in _different(_believed(root, outs)):
        path.unlink()
        found.append(Damaged(str(path.relative_to(root)), (str(path.relative_to(root)),)))
    return found


def _different(believed: dict[Path, str]) -> list[Path]:
    """The files whose MD5 is another one."""
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = pool.map(_md5, believed)
        return [path for path, found in zip(believed, hashes, strict=True) if found not in (None, believed[path])]


def _md5(path: Path) -> str | None:
    """None for a file that has gone meanwhile."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except FileNotFoundError:
        return None


def _believed(root: Path, names: Iterable[str]) -> dict[Path, str]:
    """What DVC takes the MD5 of files to be without reading them; those that it would read are left out."""

    def read(repo: Any) -> dict[Path, str]:
        state, fs = repo.cache.local.state, repo.fs
        found = {}
        for path in _files([root / name for name in names]):
            _, noted = state.get(str(path), fs)
            if noted is not None and noted.name == "md5":
                found[path] = str(noted.value)
        return found

    return ask(root, read)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    seen = set()
    for path in paths:
        below = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        for file in [path] if path.is_file() else sorted(below):
            if file not in seen:
                seen.add(file)
                yield file


# --------------------------------------------------------------------------------------- DVC's cache


def _objects(cache: Path) -> dict[Path, str]:
    """Every object with the MD5 that its name is. (A folder's object lists the folder, and ends in .dir.)"""
    found = {}
    for path in sorted(cache.glob("[0-9a-f][0-9a-f]/*")):
        if _OBJECT.fullmatch(path.name) and path.is_file():
            found[path] = path.parent.name + path.name.removesuffix(_DIR)
    return found


def _users(repo: Any) -> dict[str, tuple[str, ...]]:
    """Paths in the workspace by the object that dvc.lock says they are."""
    found: dict[str, list[str]] = {}
    cache = Path(str(repo.cache.local.path))
    for out in repo.index.outs:
        if out.hash_info and out.hash_info.value:
            value, name = str(out.hash_info.value), os.path.relpath(out.fs_path, repo.root_dir)
            found.setdefault(value, []).append(name)
            if value.endswith(_DIR):
                for entry in listed(cache / value[:2] / value[2:]):
                    found.setdefault(str(entry["md5"]), []).append(f"{name}/{entry['relpath']}")
    return {value: tuple(names) for value, names in found.items()}


def listed(path: Path) -> list[dict[str, Any]]:
    """A folder's files; none where its object is missing or cannot be read."""
    try:
        entries = json.loads(path.read_bytes())
        return [entry for entry in entries if {"md5", "relpath"} <= entry.keys()]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def _drop_object(root: Path, path: Path, used: dict[str, tuple[str, ...]]) -> Damaged:
    name = path.parent.name + path.name
    number = path.stat().st_ino
    for user in used.get(name, ()):
        link = root / user
        if link.is_file() and link.stat().st_ino == number:
            link.unlink()
    path.unlink()
    return Damaged(f"object {name}", used.get(name, ()))
