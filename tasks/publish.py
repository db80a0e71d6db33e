"""What the Prefect UI shows beside states and logs: progress, scores, links to MLflow, the report."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import get_client
from prefect.artifacts import (
    Artifact,
    LinkArtifact,
    MarkdownArtifact,
    TableArtifact,
    create_progress_artifact,
    update_progress_artifact,
)

from wmtp.orchestration.pipeline import PARAMS
from wmtp.orchestration.workspace import PAGES, served
from wmtp.progress import progress_line
from wmtp.run_views import run_page, view_page
from wmtp.tracking import last_run

_HASH_DIGITS = 8
_PAGE = 200
"""As many as the server gives at once."""


def artifact_key(root: Path, kind: str, name: str) -> str:
    """One for each workspace, profile and stage: a readable name and what tells it apart.

    Prefect allows lowercase letters, digits and dashes, where `a_b` and `a-b` would be the same.
    """
    profile = re.search(r"^profile: (.+)$", (root / PARAMS).read_text(encoding="utf-8"), re.MULTILINE)
    whole = [str(root.resolve()), profile[1] if profile else "", kind, name]
    told_apart = hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:_HASH_DIGITS]
    readable = re.sub(r"[^a-z0-9]+", "-", f"{kind}-{name}".lower()).strip("-")
    return f"{readable}-{told_apart}"


class ProgressArtifact:
    """A bar in the UI for one running stage."""

    def __init__(self, root: Path, stage: str) -> None:
        created = create_progress_artifact(0.0, key=artifact_key(root, "progress", stage), description=f"{stage} starts")
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


class Shelf:
    """What the server shows under each key now: a run that changes nothing writes nothing."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._shown: dict[str, Any] | None = None

    def forget(self) -> None:
        """Look again: another run begins."""
        with self._guard:
            self._shown = None

    def put(self, artifact: Artifact) -> None:
        """Create a new version, unless the newest one says the same."""
        data = cast(Any, artifact).format(_sync=True)
        with self._guard:
            shown = self._shown if self._shown is not None else _newest()
            self._shown = shown
            if shown.get(str(artifact.key)) == data:
                return
            shown[str(artifact.key)] = data
        cast(Any, artifact).create(_sync=True)


def _newest() -> dict[str, Any]:
    found: dict[str, Any] = {}
    with get_client(sync_client=True) as client:
        while True:
            page = client.read_latest_artifacts(limit=_PAGE, offset=len(found))
            found |= {str(one.key): one.data for one in page}
            if len(page) < _PAGE:
                return found


SHELF = Shelf()


def publish_stage(stage: str, root: Path) -> None:
    """The MLflow link of a stage that ran here, a run's scores after its evaluation, the report after `report`."""
    kind, _, run = stage.partition("@")
    tracked = last_run(root, stage)
    if tracked is not None:
        base = tracked["uri"] if tracked["uri"].startswith("http") else (served(root) or PAGES)["mlflow"]
        link = f"{base}/{run_page(tracked['experiment_id'], tracked['run_id'])}"
        what, key = f"Parameters and metrics of the newest run of {stage}", artifact_key(root, "mlflow", stage)
        SHELF.put(LinkArtifact(link=link, link_text=f"{stage} in MLflow", key=key, description=what))
    if kind == "evaluate":
        metrics = json.loads((root / "artifacts" / "evaluation" / run / "metrics.json").read_text(encoding="utf-8"))
        rows = [{"metric": key, "value": value} for key, value in metrics.items() if isinstance(value, int | float)]
        SHELF.put(TableArtifact(table=rows, key=artifact_key(root, "scores", run), description=f"Scores of {run}"))
    if kind == "report":
        _publish_report(root)
        if tracked is not None:
            link, key = f"{base}/{view_page(tracked['experiment_id'])}", artifact_key(root, "mlflow", "scores")
            SHELF.put(
                LinkArtifact(link=link, link_text="All runs in MLflow", key=key, description="Scores of every evaluation")
            )


def publish_comparison(root: Path, comparison: Mapping[str, Any], page: Path) -> None:
    """The table of several experiments, in words and as rows."""
    from wmtp.reporting.comparison import flat_rows, markdown

    key, what = artifact_key(root, "experiments", page.parent.name), f"{comparison['title']}: {page}"
    SHELF.put(MarkdownArtifact(markdown=markdown(comparison), key=f"{key}-text", description=what))
    SHELF.put(TableArtifact(table=flat_rows(comparison), key=key, description=what))


def _publish_report(root: Path) -> None:
    folder = root / "artifacts" / "report"
    text = (folder / "report.md").read_text(encoding="utf-8")
    SHELF.put(MarkdownArtifact(markdown=text, key=artifact_key(root, "report", ""), description=f"The report, as in {folder}"))
    arms = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    table, key = [{"arm": arm, **values} for arm, values in arms.items()], artifact_key(root, "comparison", "-".join(arms))
    SHELF.put(TableArtifact(table=table, key=key, description=f"{', '.join(arms)} side by side: {folder / 'index.html'}"))
