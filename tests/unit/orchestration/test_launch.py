"""A launcher with a stage of a line or two: the real command and a real process."""

import json
import os
import signal

import pytest

from tests.workspaces import PATIENCE_S, Workspace, wait_for
from wmtp.orchestration.provenance import output

pytestmark = pytest.mark.slow

STAGE = "from pathlib import Path\nfrom types import SimpleNamespace\ndef run(config, context):\n"
WRITES = """
    (context.out("artifacts/data") / "x").write_text("done")
    return SimpleNamespace(metrics={}, counts={})
"""
WAITS = """
    context.resume.mkdir(parents=True, exist_ok=True)
    (context.resume / "ready").touch()
    import time; time.sleep(600)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("launch"))
    workspace.run("wmtp", "params", "--profile", "toy")
    return workspace


@pytest.fixture
def workspace(made):
    yield made
    assert made.wait_until_gone() == []
    assert made.leftovers() == []


def write_stage(workspace, body):
    (workspace.root / "src/wmtp/stages/sample.py").write_text(STAGE + body)


def test_outputs_get_their_names_when_the_stage_has_ended_well(workspace):
    write_stage(workspace, WRITES)
    assert "sample done" in workspace.run("wmtp", "stage", "sample")
    assert (workspace.root / "artifacts/data/x").read_text() == "done"
    record = json.loads((workspace.root / output("sample") / "provenance.json").read_text())
    assert record["stage"] == "sample" and record["host"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stage_that_is_told_to_end_leaves_no_process_and_no_output(foreground, workspace, number):
    """SIGHUP: the terminal was closed."""
    write_stage(workspace, WAITS)
    process = workspace.start("wmtp", "stage", "sample")
    wait_for(lambda: list(workspace.root.glob(".wmtp/resume/sample-*/ready")), PATIENCE_S, "the stage")
    process.send_signal(number)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and "error: interrupted\n" in output
    (ready,) = workspace.root.glob(".wmtp/resume/sample-*/ready")
    ready.unlink()


def test_an_input_that_a_disk_has_damaged_is_refused_before_the_stage_starts(workspace):
    write_stage(workspace, WRITES)
    workspace.run("dvc", "repro", "sample")
    damaged = workspace.root / "artifacts/data/x"
    before = damaged.stat()
    damaged.chmod(0o644)
    with damaged.open("r+b") as file:
        file.write(b"gone")
    os.utime(damaged, ns=(before.st_atime_ns, before.st_mtime_ns))
    said = workspace.run("wmtp", "stage", "tune_reference@s0", code=1)
    assert "error: tune_reference@s0: artifacts/data/x is not what was written" in said and said.count("\n") == 1
    assert "MEND object " in workspace.run("wmtp", "doctor", "--cache", code=1)
    assert not damaged.exists()
