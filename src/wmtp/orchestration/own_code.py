"""A workspace is run by its own `src`, whichever clone the installed `wmtp` belongs to.

DVC hashes the modules that lie in the workspace and books a result under them, in caches that clones share. So the command, its
launcher and every rank must be those modules: in a worktree, in another clone, in the folder that `dvc exp run --temp` makes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import wmtp
from wmtp.errors import LaunchError

_RESTARTED = "WMTP_RESTARTED_IN"
_PATH = "PYTHONPATH"


def is_own(root: Path) -> bool:
    """Whether this process runs the code that lies in `root`, or there is none in it."""
    own = root / "src" / "wmtp"
    return not own.is_dir() or own.samefile(Path(wmtp.__file__).parent)


def environment(root: Path, given: Mapping[str, str]) -> dict[str, str]:
    """`given`, changed such that Python programs find the code of `root` before any that is installed."""
    own = str(root / "src")
    rest = [path for path in given.get(_PATH, "").split(os.pathsep) if path not in ("", own)]
    return {**given, _PATH: os.pathsep.join([own, *rest])}


def require_own(root: Path) -> None:
    """
    Raises:
        LaunchError: this process runs the code of another clone.
    """
    if not is_own(root):
        raise LaunchError(
            f"{root / 'src'} must run here, but {Path(wmtp.__file__).parent} does: is another path before it in sys.path?"
        )


def restart_if_foreign(root: Path) -> None:
    """Start this program again, in this process, with the code of `root` where it is another's now.

    Raises:
        LaunchError: that was tried already, and something else still comes first.
    """
    if is_own(root):
        os.environ.pop(_RESTARTED, None)
        return
    if os.environ.get(_RESTARTED) == str(root):
        require_own(root)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**environment(root, os.environ), _RESTARTED: str(root)})
