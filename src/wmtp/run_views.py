"""How MLflow's pages show a workspace's runs: views with the columns that matter, kept as its UI keeps a person's own.

MLflow 3.15 and later list them under *Views* of an experiment's runs; their addresses are in the experiment's description.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

_NOTE = "mlflow.note.content"
_TAG = "mlflow.sharedViewState."
_AS_TRAINING = "workflowType=machine_learning"
_WIDTH_PIXELS = 120
_KIND = "mlflow.experimentKind"
"""Which of its pages MLflow opens: runs and their metrics, or conversations."""


@dataclass(frozen=True)
class View:
    """A table of runs.

    Args:
        key: its address; name: in the list; stage: whose runs it shows; columns: as MLflow names them, from left to right;
        order_by: the column that decides, the best first where `ascending` says so.
    """

    key: str
    name: str
    stage: str
    columns: tuple[str, ...]
    order_by: str
    ascending: bool


def _metric(name: str) -> str:
    return f"metrics.`result/{name}`"


_WHO = ("tags.`arm`", "tags.`seed`")
SCORES = View(
    "wmtp-scores",
    "Scores of the arms",
    "evaluate",
    (
        *_WHO,
        *map(_metric, ("pass_at_1", "pass_at_1_low", "pass_at_1_high", "pass_at_10", "greedy_pass_at_1")),
        *map(_metric, ("nll/head0", "token_accuracy/head0")),
    ),
    _metric("pass_at_1"),
    ascending=False,
)
TRAINING = View(
    "wmtp-training",
    "Training of the policies",
    "train_policy",
    (
        *_WHO,
        "attributes.`Models`",
        *map(_metric, ("step", "tokens", "train/loss", "val/nll_head0", "weight/selected_head0")),
        *map(_metric, ("perf/tokens_per_s", "perf/peak_memory_bytes", "time_s")),
    ),
    _metric("val/nll_head0"),
    ascending=True,
)
VIEWS = (SCORES, TRAINING)


START = f"#/experiments?{_AS_TRAINING}"
"""The list of experiments, below MLflow's address, as of trained models; MLflow opens on pages for conversations."""


def view_page(experiment_id: str, view: View = SCORES) -> str:
    """The address of a view."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={view.key}&{_AS_TRAINING}"


def run_page(experiment_id: str, run_id: str) -> str:
    """The address of a run."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{_AS_TRAINING}"


def experiment_tags(experiment_id: str, now_ms: int) -> dict[str, str]:
    """What makes an experiment open as runs with their metrics, and offers the views."""
    return {_KIND: "custom_model_development", _NOTE: _description(experiment_id)} | {
        _TAG + view.key: _saved(view, now_ms) for view in VIEWS
    }


def _description(experiment_id: str) -> str:
    links = " | ".join(f"[{view.name}]({view_page(experiment_id, view)})" for view in VIEWS)
    return f"{links}\n\nA run of a training has its checkpoint under *Models*; every run names the folders that it wrote."


def _saved(view: View, now_ms: int) -> str:
    """As MLflow's UI writes a saved view: an envelope with its state as text."""
    state = {
        "searchFilter": f'tags.stage = "{view.stage}"',
        "orderByKey": view.order_by,
        "orderByAsc": view.ascending,
        "selectedColumns": list(view.columns),
        "columnOrder": list(view.columns),
        "columnWidths": dict.fromkeys(view.columns, _WIDTH_PIXELS),
    }
    return json.dumps({"name": view.name, "createdAt": now_ms, "updatedAt": now_ms, "state": json.dumps(state)})
