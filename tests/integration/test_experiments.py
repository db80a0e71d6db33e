"""Experiments as the real flow records them: a sweep of two points, their comparison, and one of them back."""

import json
import re
import shutil

import pytest

from tests.workspaces import Workspace

SWEEP = ["wmtp", "sweep", "--profile", "toy", "--arms", "baseline", "train_policy.train.steps=2,4"]
RUN = "baseline-s0"
NOBODY = "http://127.0.0.1:9/api"


@pytest.fixture(scope="module")
def swept(workspace, tmp_path_factory):
    """A copy of the shared workspace, committed, after a sweep over the length of training; and what that printed."""
    original, workspace = workspace, Workspace(tmp_path_factory.mktemp("swept"), workspace.prefect_url)
    original.run("wmtp", "params", "--profile", "toy")
    for name in ("artifacts", ".dvc/cache"):
        shutil.copytree(original.root / name, workspace.root / name)
    for name in ("dvc.lock", "params.yaml"):
        shutil.copy(original.root / name, workspace.root / name)
    (workspace.root / ".git/info/exclude").write_text(".wmtp-slots/\n")
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    workspace.run("git", *who, "add", "--all")
    workspace.run("git", *who, "commit", "--quiet", "--message", "first")
    return workspace, workspace.run(*SWEEP)


def listed(workspace):
    """The experiments of the sweep by their number of steps."""
    every = json.loads(workspace.run("wmtp", "experiments", "--json"))
    return {one["differs"]["train_policy.train.steps"]: one for one in every}


def test_points_share_what_is_the_same_and_every_one_is_a_whole_training(swept):
    workspace, output = swept
    ended = re.findall(r"\d of 2, train_policy\.train\.steps=(\d): (stages: \d ran.*)", output)
    assert ended == [  # of 4 the shared workspace has trained and evaluated the baseline already
        ("2", "stages: 3 ran, 0 restored, 1 up to date"),
        ("4", "stages: 1 ran, 2 restored, 1 up to date"),
    ]
    assert "Run      2 points, 2 experiments" in output
    comparison = json.loads((next((workspace.root / ".wmtp/comparisons").iterdir()) / "comparison.json").read_text())
    assert comparison["axis"]["is_tokens"] and [row["steps"] for row in comparison["rows"]] == [2, 4]
    assert workspace.read(f"artifacts/training/{RUN}/summary.json")["tokens"] == comparison["rows"][1]["tokens"]


def test_a_second_time_nothing_is_run_and_prefect_is_not_started(swept):
    workspace, first = swept
    output = workspace.run(*SWEEP, PREFECT_API_URL=NOBODY)
    assert "2 points were there, none was run" in output
    table = first[first.index("2 experiments side by side") : first.index("Run  ")]
    assert table.strip() in output
    dry = workspace.run(*SWEEP, "--dry", PREFECT_API_URL=NOBODY)
    assert "2 points, 2 of them there" in dry and all(one["name"] in dry for one in listed(workspace).values())


def test_what_the_flow_records_is_listed_compared_and_brought_back_as_it_was(swept, tmp_path):
    workspace, _ = swept
    known = listed(workspace)
    names = [known[steps]["name"] for steps in (2, 4)]
    shown = json.loads(workspace.run("dvc", "exp", "show", "--json", "--all-commits").splitlines()[-1])
    assert {one["name"] for row in shown for one in row["experiments"] or ()} == set(names)
    output = workspace.run("wmtp", "experiments", "compare", *names, "--out", str(tmp_path / "out"))
    rows = json.loads((tmp_path / "out/comparison.json").read_text())["rows"]
    assert "2 experiments side by side" in output and (tmp_path / "out/scores.svg").exists()
    for name, row in zip(names, rows, strict=True):
        workspace.run("wmtp", "experiments", "restore", name)
        assert workspace.stale() == []
        metrics = workspace.read(f"artifacts/evaluation/{RUN}/metrics.json")
        assert row["nll"] == metrics["nll"]["head0"] and row["pass@1"]["mean"] == metrics["pass@1"]
        assert known[row["steps"]]["scores"]["baseline"]["nll"] == metrics["nll"]["head0"]
        assert workspace.read(f"artifacts/training/{RUN}/summary.json")["steps"] == row["steps"]
