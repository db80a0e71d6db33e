"""What an artifact's record says, in real git repositories."""

import json
import socket
import subprocess
import sys

import pytest
import torch
import transformers

import wmtp
from wmtp.config import LaunchConfig
from wmtp.orchestration import provenance
from wmtp.orchestration.pipeline import StageSpec
from wmtp.orchestration.provenance import Provenance, commit, host_facts, uncommitted, versions

SPEC = StageSpec(
    name="train_policy@rho1-s0",
    deps=("artifacts/data", "src/a.py"),
    params=("train_policy",),
    outs=("artifacts/policy/rho1-s0",),
    inputs={"artifacts/data": "1f.dir", "src/a.py": "2e", "params:train_policy": '{"lr": 0.5}'},
)


def git(root, *command):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *identity, *command], cwd=root, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init")
    for name in ("a.py", "params.yaml", "dvc.lock"):
        (tmp_path / name).write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_the_place_is_one_folder_for_each_stage_and_run():
    assert provenance.output("sample") == "artifacts/provenance/sample"
    assert provenance.output("evaluate@rho1-s0") == "artifacts/provenance/evaluate/rho1-s0"


def test_the_record_names_inputs_parameters_code_and_machine(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/home/somebody/bin/wmtp", "stage", SPEC.name])
    launch = LaunchConfig(nproc_per_node=3, tracking_uri="postgresql://user:password@host/db", env={"TOKEN": "password"})
    origin = Provenance(repository, SPEC, launch)
    (repository / "a.py").write_text("changed while it ran\n")
    origin.write(tmp_path, {"system": "here"})
    text = (tmp_path / "provenance.json").read_text()
    record = json.loads(text)
    assert (record["stage"], record["fingerprint"]) == (SPEC.name, SPEC.fingerprint)
    assert record["argv"] == ["wmtp", "stage", SPEC.name]
    assert record["inputs"] == {"artifacts/data": "1f.dir", "src/a.py": "2e"}
    assert record["params"] == {"train_policy": {"lr": 0.5}}
    assert record["code"] == {"commit": commit(repository), "uncommitted": []}
    assert record["launch"]["nproc_per_node"] == 3 and record["host"] == {"system": "here"}
    assert record["started"] <= record["ended"]
    assert "password" not in text and "somebody" not in text


def test_what_is_not_committed_is_named_but_for_what_every_run_changes(repository):
    assert uncommitted(repository) == []
    (repository / "params.yaml").write_text("2\n")
    (repository / "dvc.lock").write_text("2\n")
    assert uncommitted(repository) == []
    (repository / "a.py").write_text("2\n")
    (repository / "new file.py").write_text("2\n")
    assert uncommitted(repository) == ["a.py", "new file.py"]
    git(repository, "mv", "-f", "a.py", "b.py")
    assert uncommitted(repository) == ["a.py", "b.py", "new file.py"]


def test_outside_of_git_and_before_the_first_commit_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert (commit(tmp_path), uncommitted(tmp_path)) == (None, None)
    git(tmp_path, "init")
    (tmp_path / "a.py").touch()
    assert (commit(tmp_path), uncommitted(tmp_path)) == (None, ["a.py"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (commit(tmp_path), uncommitted(tmp_path)) == (None, None)


def test_versions_are_those_of_the_modules_that_are_loaded():
    found = versions()
    assert (found["wmtp"], found["torch"], found["transformers"]) == (
        wmtp.__version__,
        torch.__version__,
        transformers.__version__,
    )
    assert "pytest" not in found and found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_host_facts_are_numbers_and_names_of_parts():
    facts = host_facts()
    assert facts["num_cpus"] > 0 and facts["memory_bytes"] > 2**30 and facts["processor"]
    assert socket.gethostname() not in json.dumps(facts)
