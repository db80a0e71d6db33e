"""The launcher's contract with the processes that it starts."""

import json
from pathlib import Path

import pytest

from wmtp.config import LaunchConfig
from wmtp.errors import LaunchError
from wmtp.orchestration.assignment import Assignment

WORK = Assignment(
    name="train_policy@rho1-s0",
    root=Path("/w"),
    folder=Path("/w/.wmtp/launch/train_policy@rho1-s0"),
    declared=("runs.rho1-s0", "train_policy"),
    outputs={"artifacts/policy/rho1-s0": Path("/w/artifacts/policy/.rho1-s0.tmp-1")},
    resume=Path("/w/.wmtp/resume/1"),
    fingerprint="1f",
    journal=Path("/w/.wmtp/tracking/1.jsonl"),
    owner="7:1.5",
    launch=LaunchConfig(nproc_per_node=3, env={"A": "b"}, srun=["--x"], nnodes=2, launcher="slurm"),
)


def test_what_is_read_is_what_was_sent():
    read = Assignment.from_json(WORK.to_json())
    assert read == WORK
    assert all(isinstance(path, Path) for path in (read.root, read.folder, read.resume, read.journal, *read.outputs.values()))


@pytest.mark.parametrize("change", [{"new": 1}, {"owner": ...}])
def test_another_versions_record_is_refused_by_its_fields(change):
    record = {**json.loads(WORK.to_json()), **change}
    text = json.dumps({name: value for name, value in record.items() if value is not ...})
    with pytest.raises(LaunchError, match=f"other fields \\({next(iter(change))}\\)"):
        Assignment.from_json(text)
