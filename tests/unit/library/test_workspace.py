"""What stages wrote, as a script gets it."""

import json
import shutil

import pandas as pd
import pytest

import wmtp
from tests.tables import add_column, make_tables
from tests.workspaces import PROJECT
from wmtp.config import compose, write_params
from wmtp.errors import ConfigError, DataError, ModelError
from wmtp.tokens.data import TokenData


@pytest.fixture
def workspace(tmp_path):
    """A workspace of the toy profile in which some stages have run."""
    write_params(compose(PROJECT, "toy", arms=["baseline", "rho1"], seeds=[0]), tmp_path / "params.yaml")
    data, reference, value = make_tables(tmp_path / "made")
    start = add_column(tmp_path / "made", "start_nll", seed=3)
    artifacts = tmp_path / "artifacts"
    for source, target in (
        (data, "data"),
        (reference, "scores/reference/s0"),
        (value, "scores/value/s0"),
        (start, "scores/start/s0"),
        (start, "scores/start/s1"),
    ):
        shutil.copytree(source, artifacts / target)
    return wmtp.open_workspace(tmp_path)


def test_runs_are_those_of_params_yaml(workspace):
    assert workspace.runs == ["baseline-s0", "rho1-s0"]
    assert workspace.config.arms["rho1"].weighting.name == "rho1"
    with pytest.raises(ConfigError, match="no run 'rho1': its runs are baseline-s0, rho1-s0"):
        workspace.history("rho1")


def test_scores_are_joined_token_by_token(workspace):
    frame = workspace.scores()
    data = TokenData.open(workspace.root / "artifacts/data", "train")
    assert list(frame)[5:] == ["reference_nll", "start_nll/s0", "start_nll/s1", "value"]
    for row, record in enumerate(data.arrow.to_pylist()):
        part = frame[frame["row"] == row]
        assert part["id"].tolist() == record["input_ids"]
        assert part["position"].tolist() == list(range(len(record["input_ids"])))
        assert part["is_prompt"].sum() == record["prompt_len"] and set(part["is_correct"]) == {record["is_correct"]}


def test_a_reference_is_of_a_seed_that_some_run_uses(workspace):
    with pytest.raises(ConfigError, match="no critic of seed None: no run uses one"):
        workspace.critic()
    with pytest.raises(ConfigError, match="no reference of seed 4: it has 0"):
        workspace.reference(4)
    with pytest.raises(ModelError, match="artifacts/reference/s0"):
        workspace.reference()


def test_histories_and_tasks_are_frames(workspace):
    training, evaluation = (workspace.root / "artifacts" / name / "rho1-s0" for name in ("training", "evaluation"))
    training.mkdir(parents=True)
    evaluation.mkdir(parents=True)
    rows = [{"step": 1, "tokens": 10, "train/loss": 2.5}, {"step": 2, "tokens": 20, "train/loss": 2.0}]
    (training / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (evaluation / "per_task.csv").write_text("task_id,num_samples,num_correct\na,4,1\n")
    assert workspace.history("rho1-s0")["train/loss"].tolist() == [2.5, 2.0]
    pd.testing.assert_frame_equal(
        workspace.tasks("rho1-s0"), pd.DataFrame({"task_id": ["a"], "num_samples": [4], "num_correct": [1]})
    )


def test_what_has_not_run_is_said(workspace, tmp_path):
    with pytest.raises(DataError, match="is missing"):
        workspace.report()
    with pytest.raises(ConfigError, match=r"artifacts/data has no table 'valid': it has train, .*validation"):
        workspace.scores("valid")
    with pytest.raises(ConfigError, match=r"params.yaml does not exist"):
        wmtp.open_workspace(tmp_path / "nowhere")
