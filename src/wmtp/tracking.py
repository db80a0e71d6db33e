"""MLflow without waiting for MLflow: calls return at once, a thread imports the library and writes in batches.

Every record goes to a local journal first. Whatever could not be delivered (the store is down, the process was killed) is
delivered by the next tracker of the workspace.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

FLUSH_SECONDS = 2.0
_MAX_METRICS = 900


class Tracker(Protocol):
    """What stages log to."""

    def log_params(self, params: Mapping[str, Any]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def set_tags(self, tags: Mapping[str, str]) -> None: ...

    def close(self, status: str = "FINISHED", reason: str = "") -> None: ...


class NullTracker:
    """For ranks other than 0."""

    def log_params(self, params: Mapping[str, Any]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def set_tags(self, tags: Mapping[str, str]) -> None: ...

    def close(self, status: str = "FINISHED", reason: str = "") -> None: ...


def default_uri(root: Path) -> str:
    """SQLite in the workspace, as an absolute URI."""
    return f"sqlite:///{(root / '.wmtp' / 'mlflow.db').resolve()}"


class MlflowTracker:
    """Logs one stage run.

    Args:
        root: the workspace; uri: tracking store; experiment, name: of the run; tags: set at its start.
    """

    def __init__(self, root: Path, uri: str, experiment: str, name: str, tags: Mapping[str, str]) -> None:
        self.folder = root / ".wmtp" / "tracking"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.journal = self.folder / f"{name}-{os.getpid()}-{time.time_ns()}.jsonl"
        self.uri = uri
        self._wake, self._closing = threading.Event(), False
        header = {"kind": "run", "experiment": experiment, "name": name, "tags": dict(tags), "pid": os.getpid(), "time_ms": _now_ms()}
        self._append(header)
        self._thread = threading.Thread(target=self._deliver, daemon=True, name="mlflow")
        self._thread.start()

    def log_params(self, params: Mapping[str, Any]) -> None:
        self._append({"kind": "params", "values": {k: str(v)[:5999] for k, v in params.items()}})

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._append({"kind": "metrics", "values": {k: float(v) for k, v in metrics.items()}, "step": step, "time_ms": _now_ms()})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._append({"kind": "tags", "values": dict(tags)})

    def close(self, status: str = "FINISHED", reason: str = "") -> None:
        """End the run and wait (briefly) for what is left to be delivered."""
        self._append({"kind": "end", "status": status, "reason": reason, "time_ms": _now_ms()})
        self._closing = True
        self._wake.set()
        self._thread.join(timeout=30)

    def _append(self, record: dict[str, Any]) -> None:
        with self.journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _deliver(self) -> None:
        warned = False
        while True:
            closing = self._closing
            try:
                deliver_journal(self.journal, self.uri)
                if closing:
                    deliver_leftovers(self.folder, self.uri)
            except Exception as error:  # best effort: training goes on without its tracking store
                if not warned:
                    print(f"warning: MLflow at {self.uri} cannot be written ({error}); metrics are kept in {self.journal}", flush=True)
                warned = True
            if closing:
                return
            self._wake.wait(FLUSH_SECONDS)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def deliver_leftovers(folder: Path, uri: str) -> None:
    """Deliver the journals of processes that are gone; a run that never ended is marked KILLED."""
    import psutil

    for journal in sorted(folder.glob("*.jsonl")):
        with journal.open(encoding="utf-8") as file:
            header = json.loads(file.readline() or "{}")
        if header.get("pid") != os.getpid() and not psutil.pid_exists(header.get("pid", 0)):
            deliver_journal(journal, uri, orphan=True)


def deliver_journal(journal: Path, uri: str, *, orphan: bool = False) -> None:
    """Write what is new in `journal` to MLflow; delete it once its run has ended.

    The run's id and how many lines are delivered are kept in `<journal>.state`.
    """
    from filelock import FileLock

    with FileLock(journal.parent / ".lock", timeout=60):
        if not journal.exists():
            return
        state_path = journal.with_suffix(".state")
        state = json.loads(state_path.read_text()) if state_path.exists() else {"run_id": None, "lines": 0}
        lines = journal.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines[state["lines"] :]]
        if orphan and not any(record["kind"] == "end" for record in records):
            records.append({"kind": "end", "status": "KILLED", "reason": "the process died", "time_ms": _now_ms()})
        if not records:
            return
        ended = _write(_client(uri), records, state)
        if ended:
            journal.unlink()
            state_path.unlink(missing_ok=True)
        else:
            state["lines"] = len(lines)
            state_path.write_text(json.dumps(state))


def _client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    import logging

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow import MlflowClient

    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri)


def _write(client: Any, records: list[dict[str, Any]], state: dict[str, Any]) -> bool:
    """Deliver records; True when the run has ended."""
    from mlflow.entities import Metric, Param, RunTag

    metrics: list[Any] = []
    params: list[Any] = []
    tags: list[Any] = []
    end: dict[str, Any] | None = None
    for record in records:
        if record["kind"] == "run":
            state["run_id"] = _create(client, record)
        elif record["kind"] == "metrics":
            metrics += [Metric(k, v, record["time_ms"], record["step"]) for k, v in record["values"].items()]
        elif record["kind"] == "params":
            params += [Param(k, v) for k, v in record["values"].items()]
        elif record["kind"] == "tags":
            tags += [RunTag(k, v) for k, v in record["values"].items()]
        else:
            end = record
    for start in range(0, len(metrics), _MAX_METRICS):
        client.log_batch(state["run_id"], metrics=metrics[start : start + _MAX_METRICS])
    for start in range(0, len(params), 90):
        client.log_batch(state["run_id"], params=params[start : start + 90])
    if tags:
        client.log_batch(state["run_id"], tags=tags)
    if end is not None:
        if end["reason"]:
            client.set_tag(state["run_id"], "reason", end["reason"][:4999])
        client.set_terminated(state["run_id"], status=end["status"], end_time=end["time_ms"])
    return end is not None


def _create(client: Any, record: dict[str, Any]) -> str:
    experiment = client.get_experiment_by_name(record["experiment"])
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(record["experiment"])
    run = client.create_run(experiment_id, start_time=record["time_ms"], run_name=record["name"], tags=record["tags"])
    return str(run.info.run_id)
