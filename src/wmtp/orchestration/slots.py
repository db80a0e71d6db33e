"""The machine's accelerators, shared by every stage that runs on it, whoever started it.

Each is a file lock outside of the workspace, which the kernel releases on any death, or a lease that several hosts share
(`wmtp.orchestration.leases`), where the launch configuration names a folder for those. Where the launch configuration names
devices, a stage takes as many of them as it has ranks, and sees no other; two stages of four ranks share a machine of eight.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from wmtp.config import LaunchConfig
from wmtp.config.devices import VISIBLE
from wmtp.files import write_text
from wmtp.orchestration import leases

FOLDER = "WMTP_SLOT_DIR"
"""Environment variable: where the locks are. Users who share a machine's devices name one folder that all may write."""

_POLL_SECONDS = 0.2
_BY = ".by"
"""Ending of the file beside a lock that says who holds it."""


@contextmanager
def taken(launch: LaunchConfig, who: str = "") -> Iterator[dict[str, str]]:
    """Wait for what a stage needs, and keep it while the block lasts.

    Args:
        who: takes it, as those who wait for it are told.
    Yields:
        what the stage's processes must find in their environment.
    """
    some = f"one of {launch.slots} slots"
    names = [str(number) for number in range(launch.slots)]
    if launch.lease is not None:
        with leases.held(Path(launch.lease), names, launch.lease_s, f"{some} in {launch.lease}", who) as environment:
            yield environment
        return
    folder = Path(os.environ.get(FOLDER, f"/tmp/wmtp-slots-{os.getuid()}"))
    folder.mkdir(parents=True, exist_ok=True)
    if launch.devices:
        what = f"{launch.nproc_per_node} of {len(launch.devices)} devices"
        with _several(folder, [f"device-{name}" for name in launch.devices], launch.nproc_per_node, what, who) as mine:
            yield {VISIBLE: ",".join(name.removeprefix("device-") for name in mine)}
    else:
        with _several(folder, names, 1, some, who):
            yield {}


@contextmanager
def _several(folder: Path, names: list[str], count: int, what: str, who: str) -> Iterator[list[str]]:
    """So many of the named locks. One looks at a time, so that no two hold a part of what both need."""
    from filelock import FileLock

    with ExitStack() as stack:
        told = False
        while True:
            with FileLock(folder / "looking.lock"):
                mine = _free(folder, names, count, stack)
                by = [] if mine else _holders(folder, names)
            if mine:
                break
            if not told:
                print(leases.waiting_for(what, by), flush=True)
                told = True
            time.sleep(_POLL_SECONDS)
        for name in mine:
            _sign(_lock(folder, name).with_suffix(_BY), who, stack)
        yield mine


def _lock(folder: Path, name: str) -> Path:
    return folder / f"{name.replace('/', '-')}.lock"


def _sign(path: Path, who: str, stack: ExitStack) -> None:
    """Have it said who holds a lock for as long as `stack` is open. Nothing depends on it."""
    with suppress(OSError):
        write_text(path, who, durable=False)
    stack.callback(lambda: path.unlink(missing_ok=True))


def _holders(folder: Path, names: list[str]) -> list[str]:
    """Those who said that they hold any of the locks."""
    found = []
    for name in names:
        with suppress(OSError):
            found.append(_lock(folder, name).with_suffix(_BY).read_text(encoding="utf-8"))
    return found


def _free(folder: Path, names: list[str], count: int, stack: ExitStack) -> list[str]:
    """Take `count` free ones for as long as `stack` is open, or none."""
    from filelock import FileLock, Timeout

    found: list[str] = []
    with ExitStack() as held:
        for name in names:
            try:
                held.enter_context(FileLock(_lock(folder, name), timeout=0))
            except Timeout:
                continue
            found.append(name)
            if len(found) == count:
                stack.push(held.pop_all())
                return found
    return []
