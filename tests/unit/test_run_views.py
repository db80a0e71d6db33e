"""Views of runs in MLflow, kept in a real store. That its UI reads them: docs/screenshots/mlflow_runs.png."""

import json
import re

from mlflow import MlflowClient

from wmtp import run_views
from wmtp.tracking import JournalTracker, default_uri, deliver_leftovers, tracking_folder


def experiment(root):
    folder = tracking_folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    JournalTracker(folder / "stage-1-1.jsonl", experiment="test", name="stage", tags={})
    deliver_leftovers(folder, default_uri(root))
    client = MlflowClient(default_uri(root))
    return client, client.get_experiment_by_name("test")


def test_an_experiment_offers_every_view_as_the_ui_saves_one(tmp_path):
    _, found = experiment(tmp_path)
    for view in run_views.VIEWS:
        saved = json.loads(found.tags[f"mlflow.sharedViewState.{view.key}"])
        assert (saved["name"], type(saved["createdAt"]), type(saved["state"])) == (view.name, int, str)
        state = json.loads(saved["state"])
        assert state["selectedColumns"] == state["columnOrder"] == list(view.columns)
        assert all(re.fullmatch(r"(metrics|tags|attributes)\.`[^`]+`", column) for column in view.columns)
        assert view.order_by in view.columns
        assert f"(#/experiments/{found.experiment_id}/runs?viewStateShareKey={view.key}&" in found.tags["mlflow.note.content"]


def test_the_store_understands_what_a_view_asks_for(tmp_path):
    client, found = experiment(tmp_path)
    for view in run_views.VIEWS:
        state = json.loads(json.loads(found.tags[f"mlflow.sharedViewState.{view.key}"])["state"])
        assert client.search_runs([found.experiment_id], state["searchFilter"], order_by=[f"{state['orderByKey']} ASC"]) == []


def test_what_a_person_has_changed_stays_and_older_experiments_get_what_they_lack(tmp_path):
    client, found = experiment(tmp_path)
    key = f"mlflow.sharedViewState.{run_views.SCORES.key}"
    client.set_experiment_tag(found.experiment_id, key, "mine")
    client.delete_experiment_tag(found.experiment_id, "mlflow.note.content")
    _, again = experiment(tmp_path)
    assert again.tags[key] == "mine" and again.tags["mlflow.note.content"]
