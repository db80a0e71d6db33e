"""What lies in a workspace as a tree of git's, without touching its index, its branch or its files.

Only git's plumbing is used, with an index of its own: others may be at work in the same workspace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmtp.errors import ConfigError
from wmtp.orchestration.books import PARAMS

LARGEST_BYTES = 16 * 2**20
"""Of a file that is neither committed nor ignored: larger ones are data, which DVC or nobody keeps."""
RESULTS = (PARAMS, "dvc.lock")
"""Written by every run: not code."""
_ANOTHERS = "dubious ownership"


@dataclass(frozen=True)
class Snapshot:
    """A tree's id, and the files that are too large to be in it."""

    tree: str
    left_out: tuple[str, ...] = ()


def git(root: Path, *command: str, text: str | None = None, index: Path | None = None) -> str:
    """What a git command prints, without the newline at its end.

    Raises:
        ConfigError: there is no git, or it refuses: its first line.
    """
    return _run(root, command, None if text is None else text.encode(), index).decode().removesuffix("\n")


def _run(root: Path, command: Sequence[str], given: bytes | None, index: Path | None = None) -> bytes:
    how = ["-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=false"]
    try:
        done = subprocess.run(
            ["git", *how, *command], cwd=root, env=_environment(index), input=given, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise ConfigError("git is not installed: experiments and workspaces are kept by it") from None
    if done.returncode != 0:
        lines = [*done.stderr.decode(errors="replace").strip().splitlines(), f"exit code {done.returncode}"]
        raise ConfigError(f"git {command[0]} in {root}: {lines[0]}")
    return done.stdout


def read_blobs(root: Path, names: Sequence[str]) -> list[str | None]:
    """The texts of files, each named `COMMIT:PATH`; None where there is none."""
    output = _run(root, ["cat-file", "--batch"], "".join(f"{name}\n" for name in names).encode())
    found: list[str | None] = []
    while output:
        head, _, output = output.partition(b"\n")
        if head.endswith(b" missing"):
            found.append(None)
            continue
        size = int(head.rpartition(b" ")[2])
        found.append(output[:size].decode(errors="replace"))
        output = output[size + 1 :]
    return found


def _environment(index: Path | None) -> Mapping[str, str]:
    """Where git looks is decided by the folder alone, not by what a hook or another git has left in the environment."""
    given = {key: value for key, value in os.environ.items() if key not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")}
    kept = {**given, "LC_ALL": "C"}  # its words are looked at
    return kept if index is None else {**kept, "GIT_INDEX_FILE": str(index)}


def head(root: Path) -> str | None:
    """The commit that is checked out; None before the first one, or outside of git.

    Raises:
        ConfigError: the repository is another user's, which git reads only where `safe.directory` allows it.
    """
    try:
        return git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except ConfigError as error:
        if _ANOTHERS in str(error):
            raise
        return None


def take(root: Path, *, forced: Iterable[str] = ()) -> Snapshot:
    """Every file that git tracks or does not ignore, as it is now; and `forced`, which may be ignored.

    Raises:
        ConfigError: `root` is no git repository with a commit, or not its top.
    """
    require_commit(root)
    with tempfile.TemporaryDirectory(prefix="wmtp-index-") as folder:
        index, own = Path(folder) / "index", Path(git(root, "rev-parse", "--absolute-git-dir")) / "index"
        if own.exists():
            shutil.copy2(own, index)  # what git knows of each file's size and time saves reading it
        large = _large(root)
        git(root, "add", "--all", "--", ".", *(f":(exclude,literal){name}" for name in large), index=index)
        present = [name for name in forced if (root / name).exists()]
        if present:
            git(root, "add", "--force", "--", *present, index=index)
        return Snapshot(git(root, "write-tree", index=index), large)


def require_commit(root: Path) -> None:
    """
    Raises:
        ConfigError: `root` is not the top of a git repository with a commit.
    """
    if head(root) is None:
        raise ConfigError(f"{root} has no commit, and experiments and workspaces need one: `git init`, `git add`, `git commit`")
    top = Path(git(root, "rev-parse", "--show-toplevel"))
    if not top.samefile(root):
        raise ConfigError(f"experiments and workspaces need a repository of the project's own, but {root} lies within {top}")


def _large(root: Path) -> tuple[str, ...]:
    names = git(root, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
    return tuple(sorted(name for name in names if name and (root / name).lstat().st_size > LARGEST_BYTES))


def code_tree(root: Path, tree: str) -> str:
    """A tree without what runs write."""
    with tempfile.TemporaryDirectory(prefix="wmtp-index-") as folder:
        index = Path(folder) / "index"
        git(root, "read-tree", tree, index=index)
        git(root, "rm", "--quiet", "--force", "--cached", "--ignore-unmatch", "--", *RESULTS, index=index)
        return git(root, "write-tree", index=index)


def changed(root: Path, old: str, new: str) -> dict[str, str]:
    """Files in which two trees differ, each with git's letter: A where only the new one has it, D where only the old one."""
    words = git(root, "diff-tree", "-r", "-z", "--no-renames", "--name-status", old, new).split("\0")
    return dict(zip(words[1::2], words[::2], strict=False))


def lay_over(root: Path, tree: str, *, before: str, own: Collection[str] = ()) -> list[str]:
    """Make the files of the tree `before`, which lie in `root`, those of `tree`. The index and HEAD stay.

    Args:
        own: files that are not removed, where `tree` lacks them.
    Returns:
        The names of what was written or removed.
    """
    moved = changed(root, before, tree)
    written = [name for name, how in moved.items() if how != "D"]
    if written:
        git(
            root,
            "restore",
            f"--source={tree}",
            "--worktree",
            "--pathspec-from-file=-",
            "--pathspec-file-nul",
            text="\0".join(written),
        )
    removed = moved.keys() - {*written, *own}
    for name in removed:
        (root / name).unlink(missing_ok=True)
    return sorted({*written, *removed})
