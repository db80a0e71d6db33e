"""MLflow without waiting for MLflow: a stage appends to a journal, and its launcher's thread delivers the journal.

The process that trains never imports mlflow (three seconds) and never talks to the store. The launcher outlives the
stage's processes, so it can end the run whatever became of them. What could not be delivered (the store is down, the
launcher was killed) is delivered by the next launcher of the workspace.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from wmtp import run_views
from wmtp.errors import first_line
from wmtp.files import Journal, read_journal, temporary_sibling, write_json
from wmtp.places import home

FLUSH_SECONDS = 2.0
CLOSE_SECONDS = 60.0
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""What MLflow's client must find in the environment: nothing phones home, and a dead store is given up on soon."""

_SQLITE, _STORE_LOCK = "sqlite:///", "store.lock"
_METRICS_PER_CALL, _PARAMS_PER_CALL = 900, 90
_MAX_VALUE = 4999
_IN_THE_BIN = "deleted"
_NOT_IN_MODEL_NAMES = re.compile(r"[/:.%\"']")


class Tracker(Protocol):
    """What stages log to. How the run ended is the launcher's to say: see `Courier.close`."""

    def log_params(self, params: Mapping[str, Any]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...


class NullTracker:
    """For ranks other than 0."""

    def log_params(self, params: Mapping[str, Any]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...


def _allowed(name: str) -> str:
    """MLflow's names know no `@`: pass@1 becomes pass_at_1."""
    return name.replace("@", "_at_")


class JournalTracker:
    """Logs one run to its journal. Where the disk is full, the stage goes on without its metrics, and says so once.

    Args:
        path: the journal; experiment, name: of the MLflow run; tags: set at its start.
    """

    def __init__(self, path: Path, *, experiment: str, name: str, tags: Mapping[str, str]) -> None:
        self.path = path
        self._journal: Journal | None = None
        self._warned = False
        self._append({"kind": "run", "experiment": experiment, "name": name, "tags": dict(tags)})

    def log_params(self, params: Mapping[str, Any]) -> None:
        self._append({"kind": "params", "values": {key: str(value)[:_MAX_VALUE] for key, value in params.items()}})

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._append(
            {"kind": "metrics", "values": {_allowed(key): float(value) for key, value in metrics.items()}, "step": step}
        )

    def _append(self, record: dict[str, Any]) -> None:
        try:
            self._journal = self._journal or Journal(self.path)
            self._journal.append({**record, "time_ms": time.time_ns() // 1_000_000})
        except OSError as error:
            if not self._warned:
                print(f"warning: metrics cannot be kept in {self.path}: {error}", flush=True)
            self._warned = True


def tracking_folder(root: Path) -> Path:
    return root / ".wmtp" / "tracking"


def last_run(root: Path, stage: str) -> dict[str, str] | None:
    """`run_id`, `experiment_id` and `uri` of the newest MLflow run of a stage of this workspace."""
    path = _last_run_path(tracking_folder(root), stage)
    found: dict[str, str] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def _last_run_path(folder: Path, stage: str) -> Path:
    return folder / f"{stage}.last.json"


def default_uri(root: Path) -> str:
    """SQLite in the clone that the workspace belongs to, as an absolute URI."""
    return f"{_SQLITE}{home(root) / '.wmtp' / 'mlflow.db'}"


def make_store(uri: str) -> None:
    """A local database that is whole, before anybody writes to it or serves it."""
    _client(uri)


class Courier:
    """The launcher's side: delivers a stage's journal while the stage runs.

    Args:
        root: the workspace; uri: the tracking store; name: the stage. `journal` is where its rank 0 writes.
    """

    def __init__(self, root: Path, uri: str, name: str) -> None:
        self.folder, self.uri = tracking_folder(root), uri
        self.folder.mkdir(parents=True, exist_ok=True)
        self.journal = self.folder / f"{name}-{os.getpid()}-{time.time_ns()}.jsonl"
        self._lock = _hold(self.journal)
        self._warned = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="mlflow")
        self._thread.start()

    def link(self, models: Mapping[str, Path]) -> None:
        """Have the run lead to the folders of the models that the stage has made, by name."""
        places = {name: str(folder) for name, folder in models.items()}
        self._try(lambda: self._append({"kind": "models", "values": places}))

    def close(self, status: str = "FINISHED", reason: str = "", *, patience_s: float = CLOSE_SECONDS) -> None:
        """Deliver what is left and end the run with an MLflow status: FINISHED, FAILED or KILLED.

        What cannot be delivered within `patience_s` is left to the next launcher.
        """
        self._try(lambda: self._append(_ending(status, reason)))
        self._closing.set()
        self._thread.join(timeout=patience_s)
        self._lock.release()
        self.journal.with_suffix(".lock").unlink(missing_ok=True)

    def _append(self, record: dict[str, Any]) -> None:
        if self.journal.exists():
            _append(self.journal, record, time.time_ns() // 1_000_000)

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10))
        self._try(lambda: make_store(self.uri))  # imported while the stage starts, not when it ends
        closing = False
        while not closing:
            closing = self._closing.wait(FLUSH_SECONDS)
            self._try(self._deliver)
        self._try(lambda: deliver_leftovers(self.folder, self.uri))

    def _deliver(self) -> None:
        if self.journal.exists():
            deliver(self.journal, self.uri)

    def _try(self, deliver_something: Callable[[], object]) -> None:
        try:
            deliver_something()
        except Exception as error:  # best effort: the stage goes on without its tracking store
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            what = "cannot be written, metrics are kept and delivered later"
            print(f"warning: MLflow at {self.uri} {what}: {first_line(error)[:200]}", flush=True)
        self._warned = True


def _lock(path: Path, timeout_s: float) -> Any:
    from filelock import FileLock

    return FileLock(path, timeout=timeout_s)


def _hold(journal: Path) -> Any:
    """A lock that says its owner lives: the kernel releases it however the owner dies."""
    lock = _lock(journal.with_suffix(".lock"), 0)
    lock.acquire()
    return lock


def _append(journal: Path, record: dict[str, Any], time_ms: int) -> None:
    """One more record. The stage that wrote the journal is gone."""
    with Journal(journal) as end:
        end.append({**record, "time_ms": time_ms})


def _ending(status: str, reason: str) -> dict[str, Any]:
    return {"kind": "end", "status": status, "reason": reason}


def _has_ended(journal: Path) -> bool:
    return any(record["kind"] == "end" for record in read_journal(journal))


def deliver_leftovers(folder: Path, uri: str) -> None:
    """Deliver the journals whose launcher is gone; a run that never ended is marked KILLED.

    One that cannot be delivered does not keep the others back: what was wrong with the first one is raised in the end.
    """
    first: Exception | None = None
    deadline = time.monotonic() + CLOSE_SECONDS
    for journal in sorted(folder.glob("*.jsonl")):
        try:
            _deliver_leftover(journal, uri)
        except Exception as error:  # best effort, and each for itself
            first = first or error
        if first is not None and time.monotonic() > deadline:  # the store is gone: it costs its patience every time
            break
    if first is not None:
        raise first


def _deliver_leftover(journal: Path, uri: str) -> None:
    from filelock import Timeout

    try:
        lock = _hold(journal)
    except Timeout:
        return
    try:
        if not _has_ended(journal):
            _append(journal, _ending("KILLED", "its launcher was killed"), int(journal.stat().st_mtime * 1000))
        deliver(journal, uri)
    finally:
        lock.release()
        journal.with_suffix(".lock").unlink(missing_ok=True)


def deliver(journal: Path, uri: str) -> None:
    """Write what is new in `journal` to MLflow and delete the journal once its run has ended.

    How far it got and the run's id are kept in `<journal>.state`, so that nothing is written twice. A run that somebody has
    deleted meanwhile is written anew, from the journal's beginning.
    """
    from mlflow.exceptions import MlflowException

    state_path = journal.with_suffix(".state")
    with _lock(journal.parent / _STORE_LOCK, CLOSE_SECONDS):
        state: dict[str, Any] = json.loads(state_path.read_text()) if state_path.exists() else {"run_id": None, "records": 0}
        records = read_journal(journal)
        new = records[state["records"] :]
        if not new:
            return
        client = _client(uri)
        try:
            ended = _write(client, new, state)
        except MlflowException:
            if not _is_deleted(client, state["run_id"]):
                raise
            state["run_id"] = None
            ended = _write(client, records, state)
        state["records"] = len(records)
        write_json(state_path, state)
        if records[0]["kind"] == "run":
            write_json(_last_run_path(journal.parent, records[0]["name"]), {"uri": uri, **state})
        if ended:
            journal.unlink()
            state_path.unlink()


def _client(uri: str) -> Any:
    import logging
    import warnings

    os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})
    warnings.filterwarnings("ignore", module="mlflow.*")
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if uri.startswith(_SQLITE) and "?" not in uri:
        _make_database(Path(uri.removeprefix(_SQLITE)))
    return MlflowClient(tracking_uri=uri)


def _make_database(path: Path) -> None:
    """Beside its place, and renamed when it is whole: with some of its tables, as a kill leaves it, MLflow never goes on."""
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path.with_name(_STORE_LOCK), CLOSE_SECONDS):  # all workspaces of a clone share it
        if not path.exists():
            (new := temporary_sibling(path, "new")).unlink(missing_ok=True)
            SqlAlchemyStore(f"{_SQLITE}{new}", path.with_name("mlartifacts").as_uri()).engine.dispose()
            os.replace(new, path)


def _write(client: Any, records: list[dict[str, Any]], state: dict[str, Any]) -> bool:
    """Deliver records; True when the run has ended."""
    from mlflow.entities import Metric, Param

    metrics: list[Any] = []
    params: list[Any] = []
    models: dict[str, str] = {}
    end: dict[str, Any] | None = None
    for record in records:
        values = record.get("values", {}).items()
        if record["kind"] == "run":
            state |= _create(client, record)
        elif record["kind"] == "metrics":
            metrics += [Metric(key, value, record["time_ms"], record["step"]) for key, value in values]
        elif record["kind"] == "params":
            params += [Param(key, value) for key, value in values]
        elif record["kind"] == "models":
            models |= record["values"]
        elif record["kind"] == "end":
            end = record
    run_id = state["run_id"]
    if run_id is None:  # not even the journal's first line was whole
        return end is not None
    for start in range(0, len(metrics), _METRICS_PER_CALL):
        client.log_batch(run_id, metrics=metrics[start : start + _METRICS_PER_CALL])
    for start in range(0, len(params), _PARAMS_PER_CALL):
        client.log_batch(run_id, params=params[start : start + _PARAMS_PER_CALL])
    if models:
        _link_models(client, run_id, state["experiment_id"], models)
    if end is not None:
        if end["reason"]:
            client.set_tag(run_id, "reason", end["reason"][:_MAX_VALUE])
        client.set_terminated(run_id, status=end["status"], end_time=end["time_ms"])
    return end is not None


def _link_models(client: Any, run_id: str, experiment_id: str, places: Mapping[str, str]) -> None:
    """Models of MLflow's whose files stay where the stage wrote them, as outputs of the run."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL

    if client.get_run(run_id).outputs.model_outputs:  # a delivery that was broken off here has done it
        return
    for name, place in places.items():
        model = client.create_logged_model(
            experiment_id,
            name=_NOT_IN_MODEL_NAMES.sub("-", name),
            source_run_id=run_id,
            tags={MLFLOW_MODEL_IS_EXTERNAL: "true", "folder": place},
            model_type="transformers",
        )
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])


def _is_deleted(client: Any, run_id: str | None) -> bool:
    """Whether somebody has put a run, or its experiment, into the bin or out of the store."""
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return False
    try:
        run = client.get_run(run_id)
        experiment = client.get_experiment(run.info.experiment_id)
    except MlflowException as error:
        return str(error.error_code) == "RESOURCE_DOES_NOT_EXIST"
    return _IN_THE_BIN in (run.info.lifecycle_stage, experiment.lifecycle_stage)


def _create(client: Any, record: dict[str, Any]) -> dict[str, str]:
    experiment_id = _experiment(client, record["experiment"])
    run = client.create_run(experiment_id, start_time=record["time_ms"], run_name=record["name"], tags=record["tags"])
    return {"run_id": run.info.run_id, "experiment_id": experiment_id}


def _experiment(client: Any, name: str) -> str:
    """The experiment of that name, or of that name and a number where it is in the bin (and keeps its name there)."""
    for number in itertools.count(1):
        found = client.get_experiment_by_name(name if number == 1 else f"{name}-{number}")
        if found is None:
            experiment_id, tags = _create_experiment(client, name if number == 1 else f"{name}-{number}"), {}
        elif found.lifecycle_stage != _IN_THE_BIN:
            experiment_id, tags = str(found.experiment_id), found.tags
        else:
            continue
        for key, value in run_views.experiment_tags(experiment_id, time.time_ns() // 1_000_000).items():
            if key not in tags:  # what a person has changed stays so
                client.set_experiment_tag(experiment_id, key, value)
        return experiment_id
    raise AssertionError("there are numbers enough")


def _create_experiment(client: Any, name: str) -> str:
    """Beside a local database goes a local folder for artifacts (MLflow's default is the current folder)."""
    uri = client.tracking_uri
    location = Path(uri.removeprefix(_SQLITE)).with_name("mlartifacts").as_uri() if uri.startswith(_SQLITE) else None
    return str(client.create_experiment(name, artifact_location=location))
