"""What the Prefect UI shows beside states and logs: progress, scores, links to MLflow, the report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from wmtp.progress import progress_line
from wmtp.tracking import last_run

MLFLOW_UI = "http://127.0.0.1:5000"


def artifact_key(*parts: str) -> str:
    """Prefect allows lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


class ProgressArtifact:
    """A bar in the UI for one running stage."""

    def __init__(self, stage: str) -> None:
        created = create_progress_artifact(0.0, key=artifact_key("progress", stage), description=f"{stage} starts")
        assert isinstance(created, UUID)
        self._id, self._last = created, ""

    def show(self, record: dict[str, Any]) -> None:
        """Mirror one progress record (see `wmtp.progress.Progress`), where it is a new one."""
        line = progress_line(record)
        if line != self._last:
            update_progress_artifact(self._id, progress=100.0 * record["step"] / max(1, record["total"]), description=line)
        self._last = line

    def finish(self, description: str, progress: float) -> None:
        update_progress_artifact(self._id, progress=progress, description=description)


def publish_stage(stage: str, root: Path) -> None:
    """The MLflow link of a stage that ran here, a run's scores after its evaluation, the report after `report`."""
    kind, _, run = stage.partition("@")
    tracked = last_run(root, stage)
    if tracked is not None:
        base = tracked["uri"] if tracked["uri"].startswith("http") else MLFLOW_UI
        link = f"{base}/#/experiments/{tracked['experiment_id']}/runs/{tracked['run_id']}"
        create_link_artifact(link=link, link_text=f"{stage} in MLflow", key=artifact_key("mlflow", stage))
    if kind == "evaluate":
        metrics = json.loads((root / "artifacts" / "evaluation" / run / "metrics.json").read_text(encoding="utf-8"))
        rows = [{"metric": key, "value": value} for key, value in metrics.items() if isinstance(value, int | float)]
        create_table_artifact(table=rows, key=artifact_key("scores", run), description=f"Scores of {run}")
    if kind == "report":
        folder = root / "artifacts" / "report"
        create_markdown_artifact((folder / "report.md").read_text(encoding="utf-8"), key="report", description=str(folder))
        arms = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        table = [{"arm": arm, **values} for arm, values in arms.items()]
        create_table_artifact(table=table, key="arms", description="Arms side by side")
