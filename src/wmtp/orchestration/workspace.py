"""Who uses a workspace: its params.yaml stays as it is while a run that was started with it is alive; who serves its pages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wmtp.config import Config, write_params
from wmtp.config.compose import says
from wmtp.config.given import require_given
from wmtp.errors import ConfigError
from wmtp.files import write_json
from wmtp.orchestration import processes
from wmtp.orchestration.pipeline import PARAMS
from wmtp.orchestration.workspaces import link_given
from wmtp.places import home

_LINE = "waiting"
_TURN_SECONDS = 1.0


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
    return [what for _, what in _alive(_folder(root))]


def _alive(folder: Path) -> list[tuple[Path, str]]:
    """Records of live processes, in the order of their names, and what they say."""
    found = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if processes.is_alive(record["process"]):
            found.append((path, f"{record['what']} (process {record['process'].partition(':')[0]})"))
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
def claimed(
    root: Path, config: Config, what: str, *, waits: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Write params.yaml and keep it for as long as the block lasts. Several runs of the same parameters may share it.

    Where others stand in line, or use it with other parameters, this one waits behind them.

    Data and models that only the clone has which a workspace was made from are linked.

    Args:
        what: for the others to read; waits: gets the names of those that are waited for, whenever they change, and
            then nothing, when it is this one's turn; sleep: what it raises ends the waiting.
    Raises:
        ConfigError: something that the stages are to read does not exist.
    """
    link_given(root, config)
    require_given(root, config)
    who = processes.identity()
    record = {"process": who, "what": what}
    path = _folder(root) / f"{who.replace(':', '-')}.json"
    ticket = _folder(root) / _LINE / f"{time.time_ns()}-{path.name}"
    ticket.parent.mkdir(exist_ok=True)
    try:
        write_json(ticket, record)
        before = ""
        while others := _claim(root, config, path, record, ticket):
            if others != before:
                waits(before := others)
            sleep(_TURN_SECONDS)
        ticket.unlink()
        if before:
            waits("")
        yield
    finally:
        ticket.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _claim(root: Path, config: Config, path: Path, record: dict[str, str], ticket: Path) -> str:
    """Whom this run has to wait for; nobody, and the workspace is its own."""
    with _exclusive(root):
        ahead = [what for one, what in _alive(ticket.parent) if one.name < ticket.name]
        others = [] if says(root / PARAMS, config) else live_runs(root)
        if not ahead and not others:
            write_params(config, root / PARAMS)
            write_json(path, record)
        return ", ".join([*others, *ahead])


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
            f"wait for it, cancel it, or run beside it in a workspace of its own (--workspace NAME)"
        )


def _change(root: Path, config: Config) -> bool:
    link_given(root, config)
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
    """The pages of `make serve` in the workspace's home, by name as in `PAGES`; None when none is at work."""
    try:
        record = json.loads(_pages_path(root).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    pages: dict[str, str] = record["pages"]
    return pages if processes.is_alive(record["process"]) else None


def _pages_path(root: Path) -> Path:
    return home(root) / ".wmtp" / "serve" / "pages.json"
