"""Journals and their delivery, into a real MLflow store."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.workspaces import PATIENCE_S
from wmtp.tracking import (
    Courier,
    JournalTracker,
    default_uri,
    deliver,
    deliver_leftovers,
    last_run,
    make_store,
    tracking_folder,
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A store without a run: MLflow takes seconds to make its tables."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(tmp_path, empty):
    found = default_uri(tmp_path)
    path = Path(found.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True)
    shutil.copy(empty, path)
    return found


def log(path, *, steps=3):
    tracker = JournalTracker(path, experiment="test", name="stage", tags={"arm": "rho1"})
    tracker.log_params({"lr": 0.1})
    for step in range(steps):
        tracker.log_metrics({"train/loss": 1.0 / (step + 1), "pass@1": 0.5}, step=step)


def runs(uri):
    client = MlflowClient(uri)
    return client, client.search_runs([client.get_experiment_by_name("test").experiment_id])


DIES = """
import os, sys
from wmtp.tracking import make_store
os.replace = lambda *paths: os.kill(os.getpid(), 9)
make_store(sys.argv[1])
"""


def test_a_delivered_run_holds_what_was_logged_also_after_a_kill_while_the_database_was_made(tmp_path):
    uri = default_uri(tmp_path)  # nothing is there yet
    assert subprocess.run([sys.executable, "-c", DIES, uri]).returncode == -9
    (left,) = (tmp_path / ".wmtp").glob(".mlflow.db*")
    left.write_bytes(left.read_bytes()[:9000])
    courier = Courier(tmp_path, uri, "stage")
    log(courier.journal)
    courier.close(patience_s=PATIENCE_S)
    client, (run,) = runs(uri)
    assert (run.info.status, run.data.params, run.data.tags["arm"]) == ("FINISHED", {"lr": "0.1"}, "rho1")
    history = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "train/loss")]
    assert history == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert "pass_at_1" in run.data.metrics
    assert last_run(tmp_path, "stage")["run_id"] == run.info.run_id
    assert not list(tracking_folder(tmp_path).glob("*.jsonl")) and not left.exists()


def test_whoever_comes_while_the_database_is_made_waits_for_it(tmp_path, monkeypatch):
    """Workspaces of one clone have journals of their own, and one database."""
    uri, made, replace = default_uri(tmp_path), [], os.replace
    second = threading.Thread(target=make_store, args=(uri,))

    def rename(*paths):
        made.append(paths)
        second.start()
        second.join(timeout=1)  # it is not done before this one is
        replace(*paths)

    monkeypatch.setattr("wmtp.tracking.os.replace", rename)
    make_store(uri)
    second.join()
    assert len(made) == 1 and MlflowClient(uri).search_experiments()


def test_how_a_run_ended_is_the_launchers_word(tmp_path, uri):
    courier = Courier(tmp_path, uri, "stage")
    log(courier.journal)
    courier.close("FAILED", "rank 1 was killed", patience_s=PATIENCE_S)
    _, (run,) = runs(uri)
    assert (run.info.status, run.data.tags["reason"]) == ("FAILED", "rank 1 was killed")


def test_an_unreachable_store_is_said_once_and_the_metrics_are_delivered_later(tmp_path, uri, capfd):
    courier = Courier(tmp_path, "http://127.0.0.1:9", "stage")
    log(courier.journal)
    courier.close(patience_s=PATIENCE_S)
    assert capfd.readouterr().out.count("warning: MLflow at http://127.0.0.1:9 cannot be written") == 1
    assert len(list(tracking_folder(tmp_path).glob("*.jsonl"))) == 1
    deliver_leftovers(tracking_folder(tmp_path), uri)
    _, (run,) = runs(uri)
    assert run.info.status == "FINISHED" and run.data.metrics["train/loss"] == pytest.approx(1 / 3)


def test_a_journal_cut_off_in_a_line_is_delivered_up_to_there_and_marked_killed(tmp_path, uri):
    folder = tracking_folder(tmp_path)
    folder.mkdir(parents=True)
    path = folder / "stage-1-1.jsonl"
    log(path)
    path.write_text(path.read_text() + '{"kind": "metrics", "val')
    deliver_leftovers(folder, uri)
    client, (run,) = runs(uri)
    assert run.info.status == "KILLED"
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 3


def test_a_launcher_ends_the_journal_of_a_rank_that_was_killed_within_a_line(tmp_path, uri):
    courier = Courier(tmp_path, uri, "stage")
    log(courier.journal)
    with courier.journal.open("a") as file:
        file.write('{"kind": "metrics", "val')
    courier.close("FAILED", "rank 0 was killed", patience_s=PATIENCE_S)
    client, (run,) = runs(uri)
    assert (run.info.status, run.data.tags["reason"]) == ("FAILED", "rank 0 was killed")
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 3


def test_nothing_is_delivered_twice(tmp_path, uri):
    folder = tracking_folder(tmp_path)
    folder.mkdir(parents=True)
    path = folder / "stage-1-1.jsonl"
    log(path)
    threads = [threading.Thread(target=deliver_leftovers, args=(folder, uri)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client, (run,) = runs(uri)
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 3


def test_a_full_disk_does_not_stop_the_stage(tmp_path, capfd):
    (tmp_path / "file").touch()
    tracker = JournalTracker(tmp_path / "file" / "journal.jsonl", experiment="test", name="stage", tags={})
    tracker.log_metrics({"loss": 1.0}, step=0)
    assert capfd.readouterr().out.count("warning: metrics cannot be kept") == 1


def test_a_journals_lines_are_whole_records(tmp_path):
    log(tmp_path / "journal.jsonl")
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert kinds == ["run", "params", "metrics", "metrics", "metrics"]


def test_a_run_that_somebody_deleted_is_written_anew_and_holds_nobody_up(tmp_path, uri):
    """In the UI, while the stage runs: every later delivery would fail for ever."""
    folder = tracking_folder(tmp_path)
    folder.mkdir(parents=True)
    first, second = folder / "stage-1-1.jsonl", folder / "stage-2-2.jsonl"
    log(first, steps=2)
    deliver(first, uri)
    client, (run,) = runs(uri)
    client.delete_run(run.info.run_id)
    log(first.with_name("rest"), steps=3)
    first.write_text(first.read_text() + (folder / "rest").read_text().splitlines(keepends=True)[-1])
    log(second)
    deliver_leftovers(folder, uri)
    _, anew = runs(uri)
    assert len(anew) == 2 and run.info.run_id not in {one.info.run_id for one in anew}
    steps = [[m.step for m in client.get_metric_history(one.info.run_id, "train/loss")] for one in anew]
    assert steps == [[0, 1, 2]] * 2 and not list(folder.glob("*.jsonl"))


def test_an_experiment_in_the_bin_is_left_there_and_one_with_a_number_is_used(tmp_path, uri):
    folder = tracking_folder(tmp_path)
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        path = folder / f"stage-{number}-1.jsonl"
        log(path)
        deliver_leftovers(folder, uri)
        if number == 1:
            client, _ = runs(uri)
            client.delete_experiment(client.get_experiment_by_name("test").experiment_id)
    found = client.get_experiment_by_name("test-2")
    assert len(client.search_runs([found.experiment_id])) == 2
    assert found.tags["mlflow.experimentKind"] == "custom_model_development"


def test_one_journal_that_cannot_be_delivered_does_not_keep_the_others_back(tmp_path, uri):
    folder = tracking_folder(tmp_path)
    folder.mkdir(parents=True)
    log(folder / "stage-1-1.jsonl")
    (folder / "stage-1-1.state").write_text("[]")
    log(folder / "stage-2-2.jsonl")
    with pytest.raises(TypeError):
        deliver_leftovers(folder, uri)
    assert len(runs(uri)[1]) == 1 and [path.name for path in folder.glob("*.jsonl")] == ["stage-1-1.jsonl"]


def test_a_run_leads_to_the_models_that_its_stage_has_made(tmp_path, uri):
    courier = Courier(tmp_path, uri, "stage")
    log(courier.journal)
    courier.link({"policy-rho1-s0": tmp_path / "artifacts/policy/rho1-s0", "odd/name:1": tmp_path / "other"})
    courier.close(patience_s=PATIENCE_S)
    client, (run,) = runs(uri)
    models = {one.model_id: client.get_logged_model(one.model_id) for one in run.outputs.model_outputs}
    found = {model.name: (model.tags["folder"], str(model.status), model.source_run_id) for model in models.values()}
    ready = ("READY", run.info.run_id)
    assert found == {
        "policy-rho1-s0": (str(tmp_path / "artifacts/policy/rho1-s0"), *ready),
        "odd-name-1": (str(tmp_path / "other"), *ready),
    }


def test_models_are_linked_once_though_a_delivery_was_broken_off_after_it(tmp_path, uri):
    folder = tracking_folder(tmp_path)
    folder.mkdir(parents=True)
    path = folder / "stage-1-1.jsonl"
    log(path)
    deliver(path, uri)
    state = path.with_suffix(".state").read_text()
    with path.open("a") as file:
        file.write(json.dumps({"kind": "models", "values": {"policy": "/somewhere"}, "time_ms": 1}) + "\n")
    for _ in range(2):
        deliver(path, uri)
        path.with_suffix(".state").write_text(state)
    _, (run,) = runs(uri)
    assert len(run.outputs.model_outputs) == 1
