"""Read what the other stages wrote about the configured runs. A missing or wrong file is a `DataError` that names it."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wmtp.config.arms import needed_columns
from wmtp.config.beside import facts_of, read_results, require_alike
from wmtp.errors import DataError
from wmtp.problems import documents

if TYPE_CHECKING:
    from wmtp.config import Config

TASK_COLUMNS = ("task_id", "difficulty", "num_samples", "num_correct", "greedy_correct")
UNKNOWN = -1
DOCUMENT_COLUMNS = ("task_id", "num_tokens", "nll_sum")
METRIC_KEYS = ("benchmark", "num_tasks", "nll")
SOLVING_KEYS = ("num_samples", "pass@1", "greedy_pass@1")
"""Of a benchmark with something to solve; documents have only what is in METRIC_KEYS."""
SUMMARY_KEYS = ("steps", "tokens", "result_step", "wall_s", "tokens_per_s", "peak_memory_bytes", "world_size")
CRITIC_KEYS = ("brier", "ece", "calibration")


@dataclass(frozen=True)
class Tasks:
    """One run's `per_task.csv`; arrays over tasks, shape (T,). `difficulty` is `UNKNOWN` where the dataset does not tell it.

    Of documents, which are no tasks to solve, the other arrays are empty, and `nll` is there: what each adds to head 0's NLL,
    in nats per token of all, times their number, so that its mean is the NLL; and `num_tokens`, which each has.
    """

    task_ids: tuple[str, ...]
    difficulty: np.ndarray
    num_samples: np.ndarray
    num_correct: np.ndarray
    greedy_correct: np.ndarray
    nll: np.ndarray | None = None
    num_tokens: np.ndarray | None = None


@dataclass(frozen=True)
class Run:
    """One policy run: its evaluation and its training record."""

    name: str
    arm: str
    seed: int
    metrics: dict[str, Any]
    tasks: Tasks
    summary: dict[str, Any]
    history: list[dict[str, Any]]
    examples: list[dict[str, Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A model that no run here has trained: its evaluation. `folder`: where the configuration says that it is."""

    name: str
    folder: str
    metrics: dict[str, Any]
    tasks: Tasks


@dataclass(frozen=True)
class Inputs:
    """Everything the report is made from. `references`, `critics`: the training records of those that the configured runs
    use, by key (`s0`). `beside`: what is shown beside the runs."""

    runs: list[Run]
    data: dict[str, Any]
    references: dict[str, dict[str, Any]] = field(default_factory=dict)
    critics: dict[str, dict[str, Any]] = field(default_factory=dict)
    beside: list[Checkpoint] = field(default_factory=list)


def load_inputs(config: Config, root: Path) -> Inputs:
    """Read all configured runs below `root`/artifacts.

    Raises:
        DataError: a file of a configured run is missing, unreadable, lacks a key, belongs to another run, or the runs
            were not evaluated on the same tasks.
    """
    runs = [_load_run(root / "artifacts", name, run.arm, run.seed) for name, run in sorted(config.runs.items())]
    if not runs:
        raise DataError("params.yaml names no runs: there is nothing to report")
    _check_same_tasks(runs, root / "artifacts" / "evaluation")
    needed, tuning = needed_columns(config.arms, config.runs.values()), root / "artifacts" / "tuning"
    references = {key: read_object(tuning / "reference" / key / "summary.json", SUMMARY_KEYS) for key in needed["reference"]}
    critics = {key: _read_critic(tuning / "critic" / key / "summary.json") for key in needed["value"]}
    data = read_object(root / "artifacts" / "data" / "meta.json", ("counts", "vocab_size", "max_length"))
    return Inputs(runs=runs, data=data, references=references, critics=critics)


def load_beside(config: Config, root: Path, run: Run) -> list[Checkpoint]:
    """What `report.beside` names.

    Args:
        run: one of those that it is to be compared with.
    Raises:
        ConfigError: no results of `wmtp evaluate`, or of other tasks or other settings than the runs'.
        DataError: a file that cannot be read, or results that are not whole.
    """
    found = []
    for name, folder in sorted(config.report.beside.items()):
        where = f"report.beside.{name}={folder}"
        metrics = read_results(root / folder, where)
        require_alike(metrics, facts_of(run.metrics), where)
        _require_keys(metrics, SOLVING_KEYS, root / folder / "metrics.json")
        tasks = read_tasks(root / folder / "per_task.csv")
        if tasks.task_ids != run.tasks.task_ids:
            raise DataError(f"{root / folder / 'per_task.csv'} has other tasks than the runs: evaluate it again")
        found.append(Checkpoint(name, folder, metrics, tasks))
    return found


def _read_critic(path: Path) -> dict[str, Any]:
    summary = read_object(path, (*SUMMARY_KEYS, "critic"))
    _require_keys(summary["critic"], CRITIC_KEYS, path, "critic.")
    return summary


def _load_run(artifacts: Path, name: str, arm: str, seed: int) -> Run:
    evaluation, training = artifacts / "evaluation" / name, artifacts / "training" / name
    metrics = read_object(evaluation / "metrics.json", METRIC_KEYS)
    for key, expected in (("run", name), ("arm", arm), ("seed", seed)):
        if key in metrics and metrics[key] != expected:
            raise DataError(f"{evaluation / 'metrics.json'}: {key}={metrics[key]!r}, but params.yaml says {expected!r}")
    is_documents = metrics["benchmark"] in documents.KINDS
    if not is_documents:
        _require_keys(metrics, SOLVING_KEYS, evaluation / "metrics.json")
    unmeasured = [key for key in ("pass@1", "greedy_pass@1") if not is_documents and metrics[key] is None]
    unmeasured += [f"nll.{head}" for head, value in metrics["nll"].items() if value is None]
    if unmeasured or "head0" not in metrics["nll"]:
        raise DataError(f"{evaluation / 'metrics.json'} has no number for {', '.join(unmeasured) or 'nll.head0'}")
    tasks = (read_documents if is_documents else read_tasks)(evaluation / "per_task.csv")
    if len(tasks.task_ids) != metrics["num_tasks"]:
        raise DataError(
            f"{evaluation / 'per_task.csv'} has {len(tasks.task_ids)} tasks, metrics.json says {metrics['num_tasks']}"
        )
    examples = training / "examples.json"
    return Run(
        name=name,
        arm=arm,
        seed=seed,
        metrics=metrics,
        tasks=tasks,
        summary=read_object(training / "summary.json", SUMMARY_KEYS),
        history=read_history(training / "history.jsonl"),
        examples=list(_read_json(examples)),
    )


def read_object(path: Path, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON object that has all `keys`."""
    value = _read_json(path)
    if not isinstance(value, dict):
        raise DataError(f"{path} must hold a JSON object")
    return _require_keys(value, keys, path)


def _require_keys(value: dict[str, Any], keys: tuple[str, ...], path: Path, prefix: str = "") -> dict[str, Any]:
    missing = [prefix + key for key in keys if key not in value]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}")
    return value


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_text(path), parse_constant=_unmeasured)
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}") from None


def _unmeasured(_constant: str) -> None:
    """NaN and infinities are not JSON: what could not be measured is None from here on."""


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run the stage that makes it (`dvc repro`)") from None


def read_history(path: Path) -> list[dict[str, Any]]:
    """`history.jsonl`, in step order."""
    try:
        rows = [json.loads(line, parse_constant=_unmeasured) for line in _read_text(path).splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON lines: {error}") from None
    if not rows or any("step" not in row or "tokens" not in row for row in rows):
        raise DataError(f"{path} must hold lines with step and tokens")
    return sorted(rows, key=lambda row: row["step"])


def _read_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Of a `per_task.csv`, sorted by task id."""
    reader = csv.DictReader(_read_text(path).splitlines())
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}")
    rows = sorted(reader, key=lambda row: row["task_id"])
    if not rows:
        raise DataError(f"{path} holds no tasks")
    return rows


def read_documents(path: Path) -> Tasks:
    """`per_task.csv` of documents, sorted by task id."""
    rows = _read_rows(path, DOCUMENT_COLUMNS)
    try:
        tokens_T, nll_T = (np.array([float(row[name]) for row in rows]) for name in DOCUMENT_COLUMNS[1:])
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    empty = np.empty(0, dtype=np.int64)
    ids, shares_T = tuple(row["task_id"] for row in rows), nll_T * len(rows) / tokens_T.sum()
    return Tasks(ids, empty, empty, empty, empty, shares_T, tokens_T)


def read_tasks(path: Path) -> Tasks:
    """`per_task.csv`, sorted by task id."""
    rows = _read_rows(path, TASK_COLUMNS)
    try:
        columns = {name: np.array([_number(row[name]) for row in rows]) for name in TASK_COLUMNS[1:]}
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    return Tasks(task_ids=tuple(row["task_id"] for row in rows), **columns)


def _number(text: str) -> int:
    flags = {"true": 1, "false": 0, "unknown": UNKNOWN}
    return flags[text.lower()] if text.lower() in flags else int(text)


def _check_same_tasks(runs: list[Run], folder: Path) -> None:
    first = runs[0]
    for run in runs[1:]:
        if run.tasks.task_ids != first.tasks.task_ids or run.metrics["benchmark"] != first.metrics["benchmark"]:
            raise DataError(
                f"{folder / run.name} and {folder / first.name} were not evaluated on the same tasks: evaluate both again"
            )
