"""The real flow, the real DVC and the real MLflow on the toy profile. Every test leaves the workspace up to date."""

import contextlib
import json
import re
import shutil
import time

import pytest

from tests.integration.training import ranks, same_folder
from wmtp import run_views
from wmtp.orchestration import provenance

STAGES = [
    "evaluate@baseline-s0",
    "evaluate@rho1-s0",
    "evaluate@verifiable-s0",
    "report",
    "sample",
    "score_reference@s0",
    "score_values@s0",
    "train_critic@s0",
    "train_policy@baseline-s0",
    "train_policy@rho1-s0",
    "train_policy@verifiable-s0",
    "tune_reference@s0",
]


def test_a_run_from_nothing_makes_every_output_and_shows_a_table(workspace):
    assert sorted(workspace.lock()) == STAGES
    assert "stages: 12 ran, 0 restored, 0 up to date" in workspace.first_output
    for arm in ("baseline", "rho1", "verifiable"):
        assert re.search(rf"^│ ?{arm} ", workspace.first_output, re.MULTILINE)
        assert workspace.read(f"artifacts/evaluation/{arm}-s0/metrics.json")
    assert len(workspace.first_output.splitlines()) <= 80, workspace.first_output
    assert (workspace.root / "artifacts/report/index.html").exists()
    assert workspace.leftovers() == []
    assert not list((workspace.root / ".wmtp/resume").iterdir())


def test_dvc_has_nothing_to_do_after_a_flow_run(fresh):
    assert "Data and pipelines are up to date." in fresh.run("dvc", "repro")


def test_a_second_run_has_nothing_to_do_and_does_not_even_start_prefect(fresh):
    output = fresh.run("wmtp", "run", "compare", "--profile", "toy", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert "stages: 0 ran, 0 restored, 12 up to date" in output
    assert "Finished in state" not in output


def test_every_stage_left_one_finished_mlflow_run_with_its_parameters(workspace):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{workspace.root / '.wmtp/mlflow.db'}")
    experiment = client.get_experiment_by_name("wmtp-toy")
    assert experiment is not None
    runs = {run.info.run_name: run for run in reversed(client.search_runs([experiment.experiment_id]))}
    assert sorted(runs) == STAGES
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    trained = runs["train_policy@rho1-s0"]
    assert trained.data.params["train_policy.train.steps"] == "4"
    assert {"arm": "rho1", "seed": "0", "stage": "train_policy"}.items() <= trained.data.tags.items()
    assert trained.data.tags["prefect_run_id"]
    assert {"train/loss", "val/nll_head0", "weight/mean", "perf/tokens_per_s"} <= trained.data.metrics.keys()
    (linked,) = trained.outputs.model_outputs
    assert client.get_logged_model(linked.model_id).tags["folder"] == str(workspace.root / "artifacts/policy/rho1-s0")
    for view in run_views.VIEWS:
        one = runs[f"{view.stage}@rho1-s0"]
        known = {"attributes.`Models`"} | {f"tags.`{key}`" for key in one.data.tags}
        known |= {f"metrics.`{key}`" for key in one.data.metrics}
        assert set(view.columns) - known <= {"metrics.`result/pass_at_10`"}  # of this profile's k there is no 10


def test_every_artifact_says_where_it_came_from_and_comes_back_with_that(fresh):
    names = {name: f"{provenance.output(name)}/provenance.json" for name in STAGES}
    before = {name: fresh.read(path) for name, path in names.items()}
    for name, stage in fresh.lock().items():
        assert before[name]["stage"] == name
        assert before[name]["inputs"] == {dep["path"]: dep["md5"] for dep in stage["deps"]}
        assert before[name]["argv"][-2:] == ["stage", name] and before[name]["started"] <= before[name]["ended"]
    assert before["train_policy@rho1-s0"]["params"]["runs.rho1-s0.arm"] == "rho1"
    shutil.rmtree(fresh.root / provenance.FOLDER)
    assert "Running stage" not in fresh.run("dvc", "repro")
    assert {name: fresh.read(path) for name, path in names.items()} == before


def test_a_changed_evaluation_parameter_reruns_evaluation_and_report_only(fresh):
    before = fresh.lock()
    hot = ["wmtp", "run", "full-baseline", "--profile", "toy", "evaluate.temperature=0.5"]
    planned = fresh.run(*hot, "--dry")
    assert re.search(r"^evaluate@baseline-s0\s+run\s+evaluate.temperature changed", planned, re.MULTILINE)
    assert "stages: 2 ran, 0 restored, 2 up to date" in fresh.run(*hot)
    changed = {name for name, stage in fresh.lock().items() if stage != before[name]}
    assert changed == {"report", "evaluate@baseline-s0"}
    (fresh.root / "params.yaml").write_text(fresh.toy)
    assert "Running stage" not in fresh.run("dvc", "repro")
    assert fresh.lock() == before


def test_a_checkpoint_beside_the_arms_makes_the_report_again_and_nothing_else(fresh):
    problems, draws = "artifacts/data/test_problems.jsonl", ("--k", "1,2", "--num-samples", "2", "--temperature", "0.8")
    model = ("--model", "artifacts/policy/baseline-s0", "--max-new-tokens", "24")
    fresh.run("wmtp", "evaluate", "synthetic", *model, "--data", problems, "--out", "results/theirs", *draws)
    beside = ("wmtp", "run", "compare", "--profile", "toy", "report.beside.theirs=results/theirs")
    assert "stages: 1 ran" in fresh.run(*beside)
    report = fresh.read("artifacts/report/report.json")
    assert report["beside"]["theirs"]["model"] == "artifacts/policy/baseline-s0"
    assert report["beside"]["theirs"]["difference"]["verdict"] == "single" and "theirs" not in report["arms"]
    results = fresh.root / "results/theirs/metrics.json"
    results.write_text(results.read_text() + "\n")
    assert fresh.stale() == ["report"]
    results.write_text(results.read_text().replace('"md5": "', '"md5": "x'))
    assert "has dataset.md5='x" in fresh.run(*beside, code=2)


def test_an_arms_parameter_leaves_the_other_arms_alone(fresh):
    fresh.run("wmtp", "params", "--profile", "toy", "arms.rho1.weighting.keep_frac=0.7")
    assert fresh.stale() == ["report", "train_policy@rho1-s0"]


@contextlib.contextmanager
def holding(path, text):
    """That file with another text; a test that fails leaves it as it was, too."""
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


def test_a_change_of_launch_settings_reruns_nothing(fresh):
    path = fresh.root / "configs/launch/local.yaml"
    text = path.read_text()
    assert "nproc_per_node: 2" in text
    with holding(path, text.replace("nproc_per_node: 2", "nproc_per_node: 1")):
        assert fresh.stale() == []


@pytest.mark.parametrize(
    ("source", "stages"),
    [
        ("src/wmtp/reporting/page.py", ["report"]),
        ("src/wmtp/synthetic/generate.py", ["sample"]),
        ("src/wmtp/examples/mutate.py", ["sample"]),
        ("src/wmtp/training/critic_metrics.py", ["train_critic@s0"]),
        ("src/wmtp/weightings/rho1.py", ["train_policy@rho1-s0"]),
        ("src/wmtp/weightings/hybrid.py", []),
        ("src/wmtp/objectives/td.py", ["train_policy@verifiable-s0"]),
        ("src/wmtp/orchestration/launch.py", []),
    ],
)
def test_changed_code_makes_stale_what_uses_it(fresh, source, stages):
    path = fresh.root / source
    with holding(path, path.read_text() + "\n"):
        assert fresh.stale() == stages


def test_training_stages_never_share_a_slot_and_give_the_same_bits_by_hand(fresh, tmp_path):
    """Two are started at once; whose ranks are alive is looked at until both have ended."""
    names = ["train_policy@baseline-s0", "train_policy@rho1-s0"]
    policy, lock = fresh.root / "artifacts/policy/rho1-s0", (fresh.root / "dvc.lock").read_text()
    kept = policy.rename(tmp_path / "kept")
    started = [fresh.start("wmtp", "stage", name) for name in names]
    alive = set()
    while any(process.poll() is None for process in started):
        alive.add(tuple(name for name in names if ranks(fresh, name)))
        time.sleep(0.1)
    outputs = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert alive == {(), (names[0],), (names[1],)}
    assert sum("waiting for one of 1 slots" in output for output in outputs) == 1
    assert same_folder(kept, policy)
    for name, output in zip(names, outputs, strict=True):
        assert f"{name} done" in output and f"`dvc commit -f {name}` records" in output
    assert fresh.stale() == ["report", *names]
    fresh.run("dvc", "commit", "--force", *names)
    assert fresh.stale() == ["report"], "the times in the results differ"
    (fresh.root / "dvc.lock").write_text(lock)
    fresh.run("dvc", "checkout", "--force")
    assert fresh.stale() == []


def test_scores_and_curves_are_what_dvc_shows(fresh):
    shown = json.loads(fresh.run("dvc", "metrics", "show", "--json"))
    assert "baseline" in json.dumps(shown) and "pass@1" in json.dumps(shown)
    fresh.run("dvc", "plots", "show", "--out", "plots")
    assert "artifacts" in (fresh.root / "plots/index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "--profile", "toi"], "unknown profile 'toi': did you mean toy?"),
        (["compare", "--profile", "toy", "--arms", "baseline,rho"], "unknown arm 'rho': did you mean rho1?"),
        (
            ["compare", "--profile", "toy", "evaluate.temprature=1"],
            "evaluate.temprature: did you mean temperature?",
        ),
        (["compare", "--profile", "toy", "train_policy.train.steps=many"], "train_policy.train.steps"),
        (["compare", "--profile", "toy", "--force", "evalute"], "unknown stage 'evalute': did you mean evaluate?"),
        (["full-rho1", "--profile", "toy", "--only", "evaluate@ntp-s0"], "unknown stage 'evaluate@ntp-s0'"),
        (["compare", "--profile", "mbpp"], "data.train_path"),
    ],
)
def test_a_mistake_is_refused_before_anything_starts(workspace, arguments, said):
    before = (workspace.root / "params.yaml").read_text()
    output = workspace.run("wmtp", "run", *arguments, code=2)
    assert said in output and output.startswith("error: ") and output.count("\n") == 1
    assert (workspace.root / "params.yaml").read_text() == before


def test_a_missing_dataset_is_refused_by_path(workspace):
    paths = ["data.train_path=nowhere.jsonl", "data.validation_path=nowhere.jsonl"]
    output = workspace.run("wmtp", "run", "compare", "--profile", "mbpp", *paths, code=2)
    assert "data.train_path=nowhere.jsonl does not exist" in output


def test_the_help_of_a_person_in_a_hurry(fresh):
    shown = fresh.run("wmtp", "report")
    assert "wmtp toy" in shown and "not of what is here" not in shown
    fresh.run("wmtp", "params", "--profile", "toy", "report.title=another")
    assert "It is not of what is here now: report would change" in fresh.run("wmtp", "report")
    (fresh.root / "params.yaml").write_text(fresh.toy)
    assert "### train row 0: " in fresh.run("wmtp", "data", "--examples", "1")
    assert "program isolation" in fresh.run("wmtp", "doctor")
