"""`wmtp experiments` on a real DVC repository with simulated results."""

import json
import subprocess
import time

import pytest
import yaml

from tests.unit.reporting.artifacts import SKILL, make_config, write_artifacts
from tests.workspaces import PROJECT
from wmtp import cli, experiments
from wmtp.config.compose import dump
from wmtp.orchestration.experiments import record
from wmtp.orchestration.pipeline import read_graph
from wmtp.reporting.collect import collect
from wmtp.reporting.inputs import load_inputs

pytestmark = pytest.mark.slow

PER_RUN = {"train_policy": "training", "evaluate": "evaluation"}
STAGES = {
    "sample": {"cmd": "true", "params": ["data"], "outs": ["artifacts/data"]},
    **{
        name: {"foreach": "${runs}", "do": {"cmd": "true", "params": [name], "outs": [f"artifacts/{folder}/${{key}}"]}}
        for name, folder in PER_RUN.items()
    },
    "report": {"cmd": "true", "params": ["report"], "deps": ["artifacts/evaluation"], "outs": ["artifacts/report"]},
}
ARMS = ["baseline", "filtered"]


def run(root, *command):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"] if command[0] == "git" else []
    return subprocess.run([command[0], *who, *command[1:]], cwd=root, check=True, capture_output=True, text=True).stdout


def make(root, steps, skill):
    """What a run with so many steps would leave, as an experiment."""
    config = make_config(ARMS, [0], f"train_policy.train.steps={steps}")
    (root / "params.yaml").write_text(dump(config))
    subprocess.run(["rm", "-rf", "artifacts"], cwd=root, check=True)
    write_artifacts(root, config, num_tasks=40, skill={arm: value + skill for arm, value in SKILL.items()})
    (root / "artifacts/report").mkdir()
    (root / "artifacts/report/report.json").write_text(json.dumps(collect(load_inputs(config, root), config)))
    run(root, "dvc", "commit", "--force")
    return record(root, read_graph(root, ["report"])).name


ROW = {"name": "toy-1", "commit": "0" * 40, "when": "2026-01-01T00:00", "where": ".", "scores": None}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    root = tmp_path_factory.mktemp("experiments")
    (root / "configs").mkdir()
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    (root / ".gitignore").write_text("/artifacts/\n.wmtp/\n")
    run(root, "git", "init", "--quiet")
    run(root, "dvc", "init", "--quiet")
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--message", "first")
    names = [make(root, 300, 0.0)]
    time.sleep(1.1)  # git's times are in seconds, and within one experiments stand by their names
    names.append(make(root, 600, 0.7))
    return root, names


@pytest.fixture
def root(original, monkeypatch):
    monkeypatch.chdir(original[0])
    return original[0]


def test_the_list_has_scores_with_intervals_what_differs_commit_when_and_where(root, original, capsys):
    assert cli.main(["experiments", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert cli.main(["experiments", "list", "--json"]) == 0 and json.loads(capsys.readouterr().out) == rows
    assert [row["name"] for row in rows] == original[1]
    assert [row["differs"] for row in rows] == [{"train_policy.train.steps": steps} for steps in (300, 600)]
    assert {row["commit"] for row in rows} == {run(root, "git", "rev-parse", "HEAD").strip()}
    assert [row["where"] for row in rows] == [".", "."] and all(row["when"][:2] == "20" for row in rows)
    report = json.loads((root / "artifacts/report/report.json").read_text())
    newest = report["arms"]["filtered"]["pass_at_k"]["1"]
    assert rows[1]["scores"]["filtered"]["pass@1"] == newest["mean"] and rows[1]["scores"]["filtered"]["low"] == newest["low"]
    assert cli.main(["experiments"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in original[1]) and "train_policy.train.steps=600" in shown
    assert f"filtered pass@1 {newest['mean']:.3f} [{newest['low']:.3f}, {newest['high']:.3f}]" in shown


def test_a_list_that_differs_is_shown_as_a_list(capsys):
    """Words in brackets are no colours."""
    experiments._print([{**ROW, "differs": {"arms": ["baseline", "ntp"]}, "as_profile": []}])
    assert "arms=[baseline,ntp]" in capsys.readouterr().out


def test_what_a_profile_says_is_not_said_again(capsys):
    differs = {"profile": "toy", "data.num_problems": 60, "train_policy.train.steps": 7, "report.k": [1, 2]}
    of_profiles = {name: experiments._of_profile(PROJECT, name) for name in ("toy", "gone")}
    said_by_it = experiments._as_profile(of_profiles, differs)
    assert said_by_it == ["data.num_problems", "report.k"]
    assert experiments._as_profile(of_profiles, {**differs, "profile": "gone"}) == []
    assert experiments._as_profile(of_profiles, {"data.num_problems": 60}) == [], "where profiles do not differ"
    experiments._print([{**ROW, "differs": differs, "as_profile": said_by_it}])
    shown = capsys.readouterr().out
    assert "train_policy.train.steps=7" in shown and "num_problems" not in shown
    assert "and 2 settings as the profile has them (--json)" in shown


def test_a_comparison_is_read_from_the_cache_and_printed_and_written(root, original, tmp_path, capsys):
    first, second = original[1]
    assert cli.main(["experiments", "compare", first, second, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "2 experiments side by side" in shown and f"Report   {tmp_path / 'out/index.html'}" in shown
    comparison = json.loads((tmp_path / "out/comparison.json").read_text())
    assert comparison["experiments"] == [first, second] and comparison["axis"]["is_tokens"]
    assert comparison["num_differences"] == 4  # filtered - baseline, twice; second - first, for both arms


@pytest.mark.parametrize(("names", "line"), [(["toy-1"], "no experiment 'toy-1'"), (None, "two experiments or more")])
def test_what_cannot_be_compared_is_refused_in_one_line(root, original, names, line, capsys):
    assert cli.main(["experiments", "compare", *(names or original[1][:1] * 2)]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_one_comes_back_into_a_workspace_and_here(root, original, capsys):
    first, second = original[1]
    assert cli.main(["experiments", "restore", first, "--workspace", "old"]) == 0
    workspace = root / ".wmtp/workspaces/old"
    assert "steps: 300" in (workspace / "params.yaml").read_text() and "steps: 600" in (root / "params.yaml").read_text()
    assert (workspace / "artifacts/evaluation/filtered-s0/metrics.json").exists()
    assert cli.main(["experiments", "restore", first]) == 0
    assert "up to date" in run(root, "dvc", "status") and "steps: 300" in (root / "params.yaml").read_text()
    assert cli.main(["experiments", "restore", second]) == 0
    assert "up to date" in run(root, "dvc", "status") and "steps: 600" in (root / "params.yaml").read_text()
