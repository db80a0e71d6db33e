"""What a person sees of a running stage: sparse lines, and a progress file for other processes. No torch."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wmtp.files import write_text

SECONDS_BETWEEN_LINES = 2.0
SECONDS_BETWEEN_LOOKS = 0.25
"""Of pieces that come faster, most are counted and not shown."""

OnProgress = Callable[[int, int], None]
"""Told how much is done, of how much."""

PROGRESS_LINE = re.compile(r"^(?P<stage>\S+) step (?P<step>\d+)/(?P<total>\d+)(?P<rest>.*)$")
"""The form of a progress line; the launcher draws a bar from it when it writes to a terminal."""

COUNTING_LINE = re.compile(r"\d[\d,]*/\d[\d,]* examples (scored|looked at)$")
"""The end of a line that comes again and again with another number."""


def progress_path(root: Path, name: str) -> Path:
    """Where a running stage keeps its newest progress for other processes (the flow) to read."""
    return root / ".wmtp" / "progress" / f"{name}.json"


class Progress:
    """Progress of counted work: a line at most every two seconds, and a JSON file that is always whole.

    Args:
        name: the stage; total: steps in all; root: the workspace; enabled: False on ranks other than 0.
        part: of the stage, where it counts several things one after the other.
    """

    def __init__(self, name: str, *, total: int, root: Path, enabled: bool = True, part: str = "") -> None:
        self.name, self.total, self.enabled = f"{name}:{part}" if part else name, total, enabled
        self.path = progress_path(root, name)
        self._first: tuple[float, float] | None = None
        self._spoken = -SECONDS_BETWEEN_LINES
        if enabled:
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def update(
        self, step: int, *, loss: float | None = None, tokens_per_s: float | None = None, at_work: float | None = None
    ) -> None:
        """`at_work`: what is made of the steps that are not done, in steps, where several are worked on at a time."""
        if not self.enabled:
            return
        now = time.monotonic()
        if self._first is None:
            self._first = (now, step + (at_work or 0.0))
        since, before = self._first
        made = step + (at_work or 0.0)
        eta_s = (now - since) / (made - before) * (self.total - made) if made > before else None
        record: dict[str, Any] = {"stage": self.name, "step": step, "total": self.total}
        record |= {"loss": loss, "at_work": at_work, "tokens_per_s": tokens_per_s, "eta_s": eta_s}
        write_text(self.path, json.dumps(record), durable=False)
        if now - self._spoken >= SECONDS_BETWEEN_LINES or step == self.total:
            self._spoken = now
            print(progress_line(record), flush=True)

    def close(self) -> None:
        """Remove the progress file: the work is done."""
        if self.enabled:
            self.path.unlink(missing_ok=True)


def counted(name: str, part: str, root: Path) -> OnProgress:
    """Shows a part of a stage whose work is told of piece by piece, and whose amount only turns out when it begins.

    Returns:
        to be told how much of how much is done; all done ends a round, and the next call begins another one.
    """
    current: Progress | None = None
    shown = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal current, shown
        now = time.monotonic()
        if current is None or current.total != total:
            current = Progress(name, total=total, root=root, part=part)
        elif done < total and now - shown < SECONDS_BETWEEN_LOOKS:
            return
        shown = now
        current.update(done)
        if done >= total:
            current.close()
            current = None

    return tell


def progress_line(record: dict[str, Any]) -> str:
    """`train_policy@rho1-s0 step 120/300  loss 0.5312  12,345 tokens/s  ETA 35 s`."""
    parts = [f"{record['stage']} step {record['step']}/{record['total']}"]
    if record["loss"] is not None:
        parts.append(f"loss {record['loss']:.4f}")
    if record.get("at_work"):
        parts.append(f"{record['at_work']:.1f} more under way")
    if record["tokens_per_s"] is not None:
        parts.append(f"{record['tokens_per_s']:,.0f} tokens/s")
    if record["eta_s"] is not None:
        parts.append(f"ETA {record['eta_s']:.0f} s")
    return "  ".join(parts)
