"""Inputs that are missing or wrong are named."""

import json
from pathlib import Path

import pytest

from tests.unit.reporting.artifacts import make_config, write_artifacts
from wmtp.errors import DataError
from wmtp.reporting.inputs import load_inputs

EVALUATION, TRAINING = "artifacts/evaluation/verifiable-s0", "artifacts/training/verifiable-s0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_artifacts(tmp_path, make_config(["baseline", "verifiable"], [0]), num_tasks=9)
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [
        f"{EVALUATION}/metrics.json",
        f"{EVALUATION}/per_task.csv",
        f"{TRAINING}/summary.json",
        f"{TRAINING}/history.jsonl",
        f"{TRAINING}/examples.json",
        "artifacts/tuning/reference/s0/summary.json",
        "artifacts/tuning/critic/s0/summary.json",
        "artifacts/data/meta.json",
    ],
)
def test_a_missing_file_is_named(root, path):
    (root / path).unlink()
    with pytest.raises(DataError, match=path):
        load_inputs(make_config(["baseline", "verifiable"], [0]), root)


def test_what_no_run_needs_is_not_read(root):
    for stage in ("reference", "critic"):
        (root / "artifacts/tuning" / stage / "s0/summary.json").unlink()
    inputs = load_inputs(make_config(["baseline"], [0]), root)
    assert inputs.references == inputs.critics == {}


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_metrics_of_another_run_are_refused(root):
    change(root / EVALUATION / "metrics.json", seed=3)
    with pytest.raises(DataError, match=r"seed=3.*params\.yaml says 0"):
        load_inputs(make_config(["baseline", "verifiable"], [0]), root)


def test_a_number_that_is_not_one_is_refused(root):
    change(root / EVALUATION / "metrics.json", nll={"head0": float("nan")})
    with pytest.raises(DataError, match=r"no number for nll\.head0"):
        load_inputs(make_config(["baseline", "verifiable"], [0]), root)


def test_a_missing_key_is_named(root):
    path = root / TRAINING / "summary.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "world_size"}))
    with pytest.raises(DataError, match="lacks world_size"):
        load_inputs(make_config(["baseline", "verifiable"], [0]), root)


def test_runs_on_different_tasks_are_refused(root):
    path = root / EVALUATION / "per_task.csv"
    path.write_text(path.read_text().replace("test/000", "test/999"))
    with pytest.raises(DataError, match="not evaluated on the same tasks"):
        load_inputs(make_config(["baseline", "verifiable"], [0]), root)


def test_a_task_left_out_is_noticed(root):
    path = root / EVALUATION / "per_task.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(DataError, match=r"has 8 tasks, metrics\.json says 9"):
        load_inputs(make_config(["baseline", "verifiable"], [0]), root)
