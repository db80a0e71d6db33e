"""Who uses a workspace: its params.yaml stays as it is while a run that was started with it is alive; who serves its pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wmtp.config import Config, write_params
from wmtp.config.compose import says
from wmtp.config.inputs import require_given
from wmtp.errors import ConfigError
from wmtp.files import write_json
from wmtp.orchestration import processes
from wmtp.orchestration.pipeline import PARAMS


def _folder(root: Path) -> Path:
    folder = root / ".wmtp" / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _exclusive(root: Path) -> Iterator[None]:
    from filelock import FileLock

    with FileLock(_folder(root) / ".lock"):
        yield


def live_runs(root: Path) -> list[str]:
    """The runs that have claimed the workspace and are alive, as text for a message. Records of dead ones are removed."""
    found = []
    for path in sorted(_folder(root).glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if processes.is_alive(record["process"]):
            found.append(f"{record['what']} (process {record['process'].partition(':')[0]})")
        else:
            path.unlink(missing_ok=True)
    return found


def change_params(root: Path, config: Config) -> bool:
    """Write params.yaml; False when it says the same already.

    Raises:
        ConfigError: it would change under a live run, or something that the stages are to read does not exist.
    """
    with _exclusive(root):
        return _change(root, config)


@contextmanager
def claimed(root: Path, config: Config, what: str) -> Iterator[None]:
    """Write params.yaml and keep it for as long as the block lasts. Several runs of the same parameters may share it.

    Raises:
        ConfigError: as `change_params`.
    """
    who = processes.identity()
    path = _folder(root) / f"{who.replace(':', '-')}.json"
    with _exclusive(root):
        _change(root, config)
        write_json(path, {"process": who, "what": what})
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def check_params(root: Path, config: Config) -> None:
    """What `change_params` would refuse, without writing anything.

    Raises:
        ConfigError: as `change_params`.
    """
    require_given(root, config)
    same = says(root / PARAMS, config)
    others = [] if same else live_runs(root)
    if others:
        raise ConfigError(
            f"params.yaml is in use by {', '.join(others)}, which was started with other parameters: "
            f"wait for it, cancel it, or use another clone of this repository"
        )


def _change(root: Path, config: Config) -> bool:
    check_params(root, config)
    return write_params(config, root / PARAMS)


# --------------------------------------------------------------------------------------- pages

PAGES = {"prefect": "http://127.0.0.1:4200", "mlflow": "http://127.0.0.1:5000"}
"""Where `make serve` puts its pages when it is not told otherwise."""


@contextmanager
def serving(root: Path, pages: dict[str, str]) -> Iterator[None]:
    """Tell everyone that this process serves these pages, for as long as the block lasts."""
    path = _pages_path(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"process": processes.identity(), "pages": pages})
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def served(root: Path) -> dict[str, str] | None:
    """The pages of the workspace's `make serve`, by name as in `PAGES`; None when none is at work."""
    try:
        record = json.loads(_pages_path(root).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    pages: dict[str, str] = record["pages"]
    return pages if processes.is_alive(record["process"]) else None


def _pages_path(root: Path) -> Path:
    return root / ".wmtp" / "serve" / "pages.json"
