"""What a person sees of a running stage: sparse lines, and a progress file for other processes. No torch."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from wmtp.files import write_text

SECONDS_BETWEEN_LINES = 2.0

PROGRESS_LINE = re.compile(r"^(?P<stage>\S+) step (?P<step>\d+)/(?P<total>\d+)(?P<rest>.*)$")
"""The form of a progress line; the launcher draws a bar from it when it writes to a terminal."""


def progress_path(root: Path, name: str) -> Path:
    """Where a running stage keeps its newest progress for other processes (the flow) to read."""
    return root / ".wmtp" / "progress" / f"{name}.json"


class Progress:
    """Progress of counted work: a line at most every two seconds, and a JSON file that is always whole.

    Args:
        name: the stage; total: steps in all; root: the workspace; enabled: False on ranks other than 0.
    """

    def __init__(self, name: str, *, total: int, root: Path, enabled: bool = True) -> None:
        self.name, self.total, self.enabled = name, total, enabled
        self.path = progress_path(root, name)
        self._first: tuple[float, int] | None = None
        self._spoken = -SECONDS_BETWEEN_LINES
        if enabled:
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def update(self, step: int, *, loss: float | None = None, tokens_per_s: float | None = None) -> None:
        if not self.enabled:
            return
        now = time.monotonic()
        if self._first is None:
            self._first = (now, step)
        since, first_step = self._first
        eta_s = (now - since) / (step - first_step) * (self.total - step) if step > first_step else None
        record: dict[str, Any] = {"stage": self.name, "step": step, "total": self.total}
        record |= {"loss": loss, "tokens_per_s": tokens_per_s, "eta_s": eta_s}
        write_text(self.path, json.dumps(record), durable=False)
        if now - self._spoken >= SECONDS_BETWEEN_LINES or step == self.total:
            self._spoken = now
            print(progress_line(record), flush=True)

    def close(self) -> None:
        """Remove the progress file: the work is done."""
        if self.enabled:
            self.path.unlink(missing_ok=True)


def progress_line(record: dict[str, Any]) -> str:
    """`train_policy@rho1-s0 step 120/300  loss 0.5312  12,345 tokens/s  ETA 35 s`."""
    parts = [f"{record['stage']} step {record['step']}/{record['total']}"]
    if record["loss"] is not None:
        parts.append(f"loss {record['loss']:.4f}")
    if record["tokens_per_s"] is not None:
        parts.append(f"{record['tokens_per_s']:,.0f} tokens/s")
    if record["eta_s"] is not None:
        parts.append(f"ETA {record['eta_s']:.0f} s")
    return "  ".join(parts)
