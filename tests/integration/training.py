"""A training stage long enough to be disturbed, and what is looked at afterwards."""

import contextlib
import filecmp
import json

import psutil

from tests.workspaces import PATIENCE_S, wait_for

STAGE = "train_policy@baseline-s0"
LONG = ["--profile", "toy", "train_policy.train.steps=120", "runtime.checkpoint_interval=10"]
RUN = ["wmtp", "run", "full-baseline", *LONG, "--only", STAGE]


def progress(workspace):
    return workspace.root / f".wmtp/progress/{STAGE}.json"


def step_of(workspace):
    try:
        return json.loads(progress(workspace).read_text())["step"]
    except (OSError, ValueError):
        return 0


def started(workspace, *command, step=30, **environment):
    """A run whose training has come to that step, past two checkpoints."""
    progress(workspace).unlink(missing_ok=True)  # of a run that was killed
    process = workspace.start(*command, **environment)
    wait_for(lambda: step_of(workspace) >= step or process.poll() is not None, PATIENCE_S, "training")
    assert process.poll() is None, process.communicate()[0]
    return process


def ranks(workspace, stage):
    """The live processes of a stage that torchrun started, by rank."""
    found = {}
    for process in workspace.processes():
        with contextlib.suppress(psutil.Error):
            environment = process.environ()
            if "RANK" in environment and json.loads(environment["WMTP_ASSIGNMENT"])["name"] == stage:
                found[int(environment["RANK"])] = process
    return found


def back_to_toy(workspace):
    """The stage's outputs of the toy profile, from DVC's cache: no other stage's have changed."""
    (workspace.root / "params.yaml").write_text(workspace.toy)
    assert "Running stage" not in workspace.run("dvc", "repro", "--single-item", STAGE)


def same_folder(left, right):
    compared = filecmp.dircmp(left, right)
    _, mismatch, errors = filecmp.cmpfiles(left, right, compared.common_files, shallow=False)
    return not (compared.left_only or compared.right_only or mismatch or errors)
