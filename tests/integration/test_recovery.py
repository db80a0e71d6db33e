"""What becomes of a run when something dies in it."""

import re
import signal

import psutil
import pytest

from tests.integration.training import LONG, RUN, STAGE, back_to_toy, ranks, started, step_of
from tests.workspaces import PATIENCE_S, kill_all, wait_for


def mlflow_runs(workspace):
    """Of the stage, the newest first."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{workspace.root / '.wmtp/mlflow.db'}")
    experiment = client.get_experiment_by_name("wmtp-toy")
    return client.search_runs([experiment.experiment_id], f"attributes.run_name = '{STAGE}'", order_by=["start_time DESC"])


def test_a_stopped_run_leaves_no_process_and_the_next_one_goes_on(fresh):
    before = fresh.lock()[STAGE]
    command = [*RUN, "train_policy.optim.clip_norm=20"]
    for number, step in ((signal.SIGKILL, 30), (signal.SIGINT, 50)):
        process = started(fresh, *command, step=step)
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE_S)
        assert fresh.wait_until_gone() == []
        assert fresh.lock()[STAGE] == before
        assert ("resumed from step" in output) == (number == signal.SIGINT)
    assert "resumed from step" in fresh.run(*command)
    assert fresh.leftovers() == []
    assert mlflow_runs(fresh)[0].info.status == "FINISHED"
    back_to_toy(fresh)


def test_a_run_that_is_told_to_make_room_leaves_a_checkpoint_and_is_no_failure(fresh):
    """Three of them, one after another, and each goes on where the one before has left."""
    command = [*RUN, "train_policy.optim.clip_norm=30"]
    resumed = ""
    for who, step in (("a rank", 30), ("torchrun", 45), ("the command", 60)):
        process = started(fresh, *command, step=step)
        rank = ranks(fresh, STAGE)[1]
        if who == "torchrun":
            rank.parent().terminate()
        else:
            (rank if who == "a rank" else process).send_signal(signal.SIGUSR1)
        output, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 75, output
        (left,) = set(re.findall(rf"{STAGE}: preempted at step (\d+); the next run goes on from there", output))
        assert "error: " not in output and "trying once more" not in output and "in state Failed" not in output
        assert f"{STAGE}: done" not in output
        assert resumed in output
        resumed = f"resumed from step {left}\n"
    assert resumed in fresh.run(*command)
    ended = [run.info.status for run in mlflow_runs(fresh)[:4]]  # a busy machine's is left to the next launcher
    assert ended == ["FINISHED", "KILLED", "KILLED", "KILLED"]
    back_to_toy(fresh)


def test_a_rank_that_hangs_is_named_with_everyones_stack_and_nothing_is_tried_again(fresh):
    """Stopped, it cannot even be told to end: the other one waits, gives up, and would look like the cause."""
    (fresh.root / "configs/launch/impatient.yaml").write_text("collective_timeout_s: 16\n")
    process = started(fresh, *RUN, "train_policy.optim.clip_norm=23", WMTP_LAUNCH="impatient")
    ranks(fresh, STAGE)[1].suspend()
    output, _ = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode == 1
    assert f"{STAGE}: no progress for " in output and "rank 1 is stopped; every rank's stack is in the log" in output
    waited = f"error: {STAGE}: rank 0 waited for the other ranks until a collective timed out, "
    assert f"{waited}rank 1 made no progress (it was stopped)" in output
    assert "out of memory" not in output and "trying once more" not in output
    log = (fresh.root / f".wmtp/logs/{STAGE}.log").read_text()
    assert "--- rank 0, after " in log and "(most recent call first):" in log
    assert "resumed from step" in fresh.run(*RUN, "train_policy.optim.clip_norm=23")
    back_to_toy(fresh)


def test_a_run_that_ctrl_z_stopped_is_alive_and_goes_on_and_survives_a_killed_rank(fresh):
    """The ranks are in sessions of their own, where a terminal's signals do not come.

    While it stands, a second run is refused; when it goes on, a rank is killed.
    """
    process = started(fresh, *RUN, "train_policy.optim.clip_norm=21")
    process.send_signal(signal.SIGTSTP)
    found = [*ranks(fresh, STAGE).values(), psutil.Process(process.pid)]
    wait_for(lambda: {one.status() for one in found} == {psutil.STATUS_STOPPED}, PATIENCE_S, "the stop")
    step = step_of(fresh)
    refused = fresh.run("wmtp", "run", "full-baseline", "--profile", "toy", code=2)
    assert "params.yaml is in use by flow run of baseline-s0" in refused, "with other parameters, and the first is alive"
    assert step_of(fresh) == step
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: step_of(fresh) > step, PATIENCE_S, "a step")
    ranks(fresh, STAGE)[1].kill()
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    assert f"{STAGE}: rank 1 was killed by SIGKILL" in output, output
    assert "resumed from step" in output
    back_to_toy(fresh)


HOLD = """
import os, time

_replace = os.replace

def replace(source, target, **how):
    if os.path.basename(target) == "model.safetensors" and os.path.exists("hold"):
        os.truncate(source, os.path.getsize(source) // 2)
        os.rename("hold", "held")
        time.sleep(10**6)
    _replace(source, target, **how)

os.replace = replace
"""
"""What Python runs in every process that starts: while there is a file `hold`, a policy's weights are half written for ever."""


def test_a_kill_before_the_result_is_recorded_costs_the_steps_since_the_last_checkpoint(fresh):
    """Of everything at once, first while the policy is written, and then when outputs have their names and dvc.lock is old."""
    fresh.run("wmtp", "params", *LONG, "train_policy.optim.clip_norm=24")
    (fresh.root / "sitecustomize.py").write_text(HOLD)
    (fresh.root / "hold").touch()
    process = fresh.start("dvc", "repro", "--single-item", STAGE)
    wait_for(lambda: (fresh.root / "held").exists() or process.poll() is not None, PATIENCE_S, "the save")
    kill_all(fresh.processes())
    process.communicate(timeout=PATIENCE_S)
    (fresh.root / "sitecustomize.py").unlink()
    (fresh.root / "held").unlink()
    assert len(left := fresh.leftovers()) > 0 and all(".tmp-" in path for path in left)
    assert not (fresh.root / "artifacts/policy/baseline-s0").exists(), "nothing has the name before it is whole"
    process = fresh.start("dvc", "repro", "--single-item", STAGE)
    done = fresh.root / ".wmtp/resume"
    wait_for(lambda: list(done.glob(f"{STAGE}-*/finished")), PATIENCE_S, "the stage's end")
    process.kill()
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert "resumed from step 110\n" in said and fresh.leftovers() == []
    assert STAGE in fresh.stale()
    output = fresh.run("dvc", "repro", "--single-item", STAGE)
    assert "resumed from step 110\n" in output, output
    back_to_toy(fresh)


def test_parameters_that_change_under_a_stage_discard_its_result(fresh):
    fresh.run("wmtp", "params", *LONG)
    kept = (fresh.root / "artifacts/policy/baseline-s0/config.json").stat().st_mtime_ns
    process = started(fresh, "wmtp", "stage", STAGE)
    path = fresh.root / "params.yaml"
    path.write_text(path.read_text().replace("steps: 120", "steps: 121"))
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "params:train_policy changed while it ran" in output and output.count("error: ") == 1
    assert (fresh.root / "artifacts/policy/baseline-s0/config.json").stat().st_mtime_ns == kept
    assert mlflow_runs(fresh)[0].info.status == "FAILED"
    fresh.run("wmtp", "params", "--profile", "toy")


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("artifacts/policy", "No space left on device"),
        (".wmtp/resume", "CheckpointError: checkpoint of step 2 could not be written"),
    ],
)
def test_a_full_disk_is_said_and_leaves_no_part_of_an_output(fresh, folder, said):
    small = f"mount -t tmpfs -o size=64k tmpfs {folder} && wmtp stage {STAGE}"
    script = f"{small}; code=$?; echo left: $(ls artifacts/policy); exit $code"
    output = fresh.run("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, code=1)
    (error,) = [line for line in output.splitlines() if line.startswith(f"error: {STAGE}: rank ")]
    assert said in error
    (left,) = [line for line in output.splitlines() if line.startswith("left:")]
    assert ("baseline-s0" in left) == (folder == ".wmtp/resume")  # the small disk hides what was there
    assert fresh.stale() == [] and fresh.leftovers() == []


def test_metrics_that_mlflow_did_not_take_are_delivered_by_the_next_stage(fresh):
    fresh.run("wmtp", "params", "--profile", "toy", "train_policy.optim.clip_norm=23")
    output = fresh.run("wmtp", "stage", STAGE, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "warning: MLflow at http://127.0.0.1:9 cannot be written" in output
    known = len(mlflow_runs(fresh))
    fresh.run("wmtp", "stage", "report")
    runs = mlflow_runs(fresh)
    assert len(runs) == known + 1 and runs[0].info.status == "FINISHED" and "train/loss" in runs[0].data.metrics
    (fresh.root / "params.yaml").write_text(fresh.toy)
    fresh.run("dvc", "checkout", "--force")
