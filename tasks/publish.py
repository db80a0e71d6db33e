"""What a person sees in Prefect besides states and logs: progress, the arms' table, the report, a link to MLflow."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from types import TracebackType

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.context import TaskRunContext

TRAINING = ("tune_reference", "train_critic", "train_policy")
SECONDS = 2.0


def key_of(name: str) -> str:
    """Artifact keys allow lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class StageProgress:
    """A progress artifact that follows `.wmtp/progress/<stage>.json` while a training stage runs."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.path = name, root / ".wmtp" / "progress" / f"{name}.json"
        self.enabled = name.partition("@")[0] in TRAINING and TaskRunContext.get() is not None
        self._stop = threading.Event()

    def __enter__(self) -> StageProgress:
        if self.enabled:
            self.path.unlink(missing_ok=True)
            self._id = create_progress_artifact(0.0, key=f"progress-{key_of(self.name)}", description=self.name)
            self._thread = threading.Thread(target=self._follow, daemon=True)
            self._thread.start()
        return self

    def _follow(self) -> None:
        shown = 0.0
        while not self._stop.wait(SECONDS):
            try:
                record = json.loads(self.path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            done = 100.0 * record["step"] / record["total"]
            if done != shown:
                shown = done
                update_progress_artifact(self._id, done, description=_describe(record))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.enabled:
            self._stop.set()
            self._thread.join()
            if kind is None:
                update_progress_artifact(self._id, 100.0)


def _describe(record: dict[str, float | str | None]) -> str:
    parts = [f"{record['stage']}: step {record['step']}/{record['total']}"]
    for key, text in (("loss", "loss {:.4f}"), ("tokens_per_s", "{:,.0f} tokens/s"), ("eta_s", "{:.0f} s to go")):
        value = record.get(key)
        if isinstance(value, (int, float)):
            parts.append(text.format(value))
    return ", ".join(parts)


def publish_report(root: Path, tracking_uri: str) -> None:
    """The report's markdown (with the arms' table) and where the MLflow runs are."""
    report = root / "artifacts" / "report" / "report.md"
    if report.exists():
        text = report.read_text(encoding="utf-8")
        create_markdown_artifact(text, key="report", description="The arms side by side")
    link = tracking_uri if tracking_uri.startswith("http") else "http://127.0.0.1:5000"
    command = f"mlflow ui --backend-store-uri {tracking_uri}"
    create_link_artifact(link, key="mlflow", link_text="MLflow", description=f"Every stage's metrics; start it with `{command}`")
