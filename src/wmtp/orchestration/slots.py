"""The machine's accelerators, shared by every stage that runs on it, whoever started it.

Each is a file lock outside of the workspace, which the kernel releases on any death, or a lease that several hosts share
(`wmtp.orchestration.leases`), where the launch configuration names a folder for those. Where the launch configuration names
devices, a stage takes as many of them as it has ranks, and sees no other; two stages of four ranks share a machine of eight.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from wmtp.config import LaunchConfig
from wmtp.config.devices import VISIBLE
from wmtp.orchestration import leases

FOLDER = "WMTP_SLOT_DIR"
"""Environment variable: where the locks are. Users who share a machine's devices name one folder that all may write."""

_POLL_SECONDS = 0.2


@contextmanager
def taken(launch: LaunchConfig) -> Iterator[dict[str, str]]:
    """Wait for what a stage needs, and keep it while the block lasts.

    Yields:
        what the stage's processes must find in their environment.
    """
    some = f"one of {launch.slots} accelerator slot(s)"
    names = [str(number) for number in range(launch.slots)]
    if launch.lease is not None:
        with leases.held(Path(launch.lease), names, launch.lease_s, f"{some} in {launch.lease}") as environment:
            yield environment
        return
    folder = Path(os.environ.get(FOLDER, f"/tmp/wmtp-slots-{os.getuid()}"))
    folder.mkdir(parents=True, exist_ok=True)
    if launch.devices:
        what = f"{launch.nproc_per_node} of {len(launch.devices)} devices"
        with _several(folder, [f"device-{name}" for name in launch.devices], launch.nproc_per_node, what) as mine:
            yield {VISIBLE: ",".join(name.removeprefix("device-") for name in mine)}
    else:
        with _several(folder, names, 1, some):
            yield {}


@contextmanager
def _several(folder: Path, names: list[str], count: int, what: str) -> Iterator[list[str]]:
    """So many of the named locks. One looks at a time, so that no two hold a part of what both need."""
    from filelock import FileLock

    with ExitStack() as stack:
        told = False
        while True:
            with FileLock(folder / "looking.lock"):
                mine = _free(folder, names, count, stack)
            if mine:
                break
            if not told:
                print(f"waiting for {what}", flush=True)
                told = True
            time.sleep(_POLL_SECONDS)
        yield mine


def _free(folder: Path, names: list[str], count: int, stack: ExitStack) -> list[str]:
    """Take `count` free ones for as long as `stack` is open, or none."""
    from filelock import FileLock, Timeout

    found: list[str] = []
    with ExitStack() as held:
        for name in names:
            try:
                held.enter_context(FileLock(folder / f"{name.replace('/', '-')}.lock", timeout=0))
            except Timeout:
                continue
            found.append(name)
            if len(found) == count:
                stack.push(held.pop_all())
                return found
    return []
