"""Workspaces for runs side by side: `.wmtp/workspaces/NAME`, a worktree of git's with this clone's DVC cache.

What another workspace has computed is restored there, never computed again.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

from wmtp.config import Config
from wmtp.config.inputs import MADE, given, is_hub_id
from wmtp.errors import ConfigError
from wmtp.orchestration import snapshots
from wmtp.orchestration.dvc_cache import cache_folder
from wmtp.orchestration.snapshots import git
from wmtp.places import WORKSPACES, home, workspace_name

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_CONFIG = Path(".dvc") / "config.local"
_FLOW = ("flows", "tasks", "src/wmtp/config", "src/wmtp/orchestration")
"""What runs in the process that a flow runs in, and not in a stage's."""
_SHOWN = 3


def open_workspace(root: Path, name: str, say: Callable[[str], None]) -> Path:
    """The workspace of that name, made from `root` as it is now (what is not committed too) where there is none.

    Args:
        say: gets a line where something is made or is not what one might think.
    Raises:
        ConfigError: a bad name, or no commit to start from.
    """
    from filelock import FileLock

    check_name(name)
    if workspace_name(root) == name:
        return root
    folder = home(root) / WORKSPACES / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{name}.lock"):
        if (folder / _CONFIG).exists():
            _say_what_differs(root, folder, say)
        else:
            _make(root, folder, say)
    return folder


def link_given(root: Path, config: Config) -> None:
    """Data and models that a configuration names by a relative path, and that git does not carry, as links to the home's.

    DVC hashes what a link leads to, so the stages are as fresh as they would be there.
    """
    if workspace_name(root) is None:
        return
    for one in given(config):
        link, source = root / one.path, home(root) / one.path
        is_within = Path(os.path.relpath(link, root)).parts[0] not in (os.pardir, MADE)
        if is_within and not link.exists() and source.exists() and not is_hub_id(one.value, one.kind):
            link.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # another process was as fast
                link.symlink_to(source)


def plan_workspace(root: Path, name: str, say: Callable[[str], None]) -> Path:
    """Where to look for what would be done in the workspace of that name; `root` itself where it would be made from it.

    Raises:
        ConfigError: a bad name.
    """
    check_name(name)
    folder = root if workspace_name(root) == name else home(root) / WORKSPACES / name
    if (folder / _CONFIG).exists():
        return folder
    say(f"workspace {name} would be made; what is up to date here would be restored there")
    return root


def check_name(name: str) -> None:
    """
    Raises:
        ConfigError: it is no name for a folder and a worktree.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"workspace={name!r} must be a name of letters, digits, _ and -")


def _make(root: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Its DVC configuration comes last: without one, a kill was before the end."""
    found = snapshots.take(root)
    if folder.exists():
        git(root, "worktree", "remove", "--force", "--force", str(folder))
    git(root, "worktree", "prune")
    git(root, "worktree", "add", "--quiet", "--detach", str(folder), "HEAD")
    carried = snapshots.lay_over(folder, found.tree, before="HEAD^{tree}")
    _share_cache(root, folder)
    more = f", with {len(carried)} files that are not committed" if carried else ""
    say(f"workspace {folder.name} is made in {folder} from {git(root, 'rev-parse', '--short', 'HEAD')}{more}")
    for name in found.left_out:
        say(f"workspace {folder.name} has no {name}, which is neither committed nor small")


def _share_cache(root: Path, folder: Path) -> None:
    """The clone's own DVC settings, its cache and its remotes, by absolute paths: DVC's are relative to their file."""
    from dvc.config import Config

    found = Config(str(root / ".dvc"))
    settings = found.load_one("local")
    for name, remote in found.load_one("repo")["remote"].items():
        if not re.match(r"\w+://", remote["url"]):
            settings["remote"][name] = {**remote, **settings["remote"].get(name, {})}
    settings["cache"]["dir"] = str(cache_folder(root).resolve())
    with Config(str(folder / ".dvc")).edit("local") as local:
        for section, values in settings.items():
            local[section] = {key: _absolute(value) for key, value in values.items()}


def _absolute(value: object) -> object:
    """DVC marks what was relative, and would write it so again."""
    if isinstance(value, dict):
        return {key: _absolute(one) for key, one in value.items()}
    return os.path.abspath(value) if isinstance(value, str) and type(value) is not str and os.path.isabs(value) else value


def _say_what_differs(root: Path, folder: Path, say: Callable[[str], None]) -> None:
    ours, theirs = (snapshots.code_tree(one, snapshots.take(one).tree) for one in (root, folder))
    names = sorted(snapshots.changed(root, ours, theirs))
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        say(
            f"workspace {folder.name} runs its own code, which differs from this one's in {', '.join(names[:_SHOWN])}{more} "
            f"(`git worktree remove --force {folder}`, and it is made anew)"
        )


def require_same_flow(root: Path, workspace: Path) -> None:
    """A worker's process runs the flow of the clone that serves: a workspace with another one is not run by it.

    Raises:
        ConfigError: files differ that the flow itself consists of.
    """
    other = [name for part in _FLOW for name in _differing(root / part, workspace / part)]
    if other:
        raise ConfigError(f"{workspace} has another {other[0]} than {root}, which serves: run it there, with `wmtp run`")


def _differing(ours: Path, theirs: Path) -> list[str]:
    names = {str(path.relative_to(folder)) for folder in (ours, theirs) for path in folder.rglob("*.py")}
    _, changed, missing = filecmp.cmpfiles(ours, theirs, sorted(names), shallow=False)
    return [str(ours / name) for name in (*changed, *missing)]


def served_environment(root: Path) -> dict[str, str]:
    """The Prefect server that the home's prefect.toml names, which Prefect itself looks for in the current folder alone."""
    path = home(root) / "prefect.toml"
    if workspace_name(root) is None or not path.is_file() or "PREFECT_API_URL" in os.environ:
        return {}
    try:
        url = tomllib.loads(path.read_text(encoding="utf-8")).get("api", {}).get("url")
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    return {} if url is None else {"PREFECT_API_URL": str(url)}
