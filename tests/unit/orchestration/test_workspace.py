"""A workspace's params.yaml under live runs, dead ones, and several of the same parameters."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.workspaces import PROJECT
from wmtp.config import compose
from wmtp.errors import ConfigError
from wmtp.orchestration import processes
from wmtp.orchestration.workspace import change_params, check_params, claimed, live_runs


@pytest.fixture
def root(tmp_path):
    """A workspace with the files that a configuration is composed from and points to."""
    shutil.copytree(PROJECT / "configs", tmp_path / "configs")
    (tmp_path / "src/wmtp/stages").mkdir(parents=True)
    (tmp_path / "src/wmtp/stages/sample.py").touch()
    return tmp_path


def config(root, *overrides):
    return compose(root, "toy", overrides=overrides)


def test_params_are_written_once_and_then_are_already_that(root):
    assert change_params(root, config(root)) is True
    assert change_params(root, config(root)) is False
    assert change_params(root, config(root, "score.batch_tokens=64")) is True


def test_a_claim_keeps_the_parameters_for_as_long_as_it_lasts(root):
    mine, others = config(root), config(root, "score.batch_tokens=64")
    with claimed(root, mine, "flow run of a", waits=pytest.fail):
        assert live_runs(root) == [f"flow run of a (process {os.getpid()})"]
        change_params(root, mine)
        with pytest.raises(
            ConfigError, match=r"params.yaml is in use by flow run of a \(process \d+\).*wait for it, cancel it"
        ):
            change_params(root, others)
        with pytest.raises(ConfigError, match="in use"):
            check_params(root, others)
    assert live_runs(root) == []
    assert change_params(root, others) is True


def test_two_runs_of_the_same_parameters_share_them(root):
    program = (
        "import sys; from pathlib import Path; from wmtp.config import compose\n"
        "from wmtp.orchestration.workspace import claimed\n"
        "root = Path(sys.argv[1])\n"
        "with claimed(root, compose(root, 'toy'), 'another', waits=print): print('ready', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    with claimed(root, config(root), "mine", waits=pytest.fail):
        assert len(live_runs(root)) == 2
        process.kill()  # its record stays, and is nobody's
        process.wait()
        assert live_runs(root) == [f"mine (process {os.getpid()})"]


CLAIM = """
import sys
from pathlib import Path
from wmtp.config import compose
from wmtp.orchestration.workspace import claimed
root, what, *overrides = sys.argv[1:]
say = lambda who: print(f"waits for {who}" if who else "goes on", flush=True)
with claimed(Path(root), compose(Path(root), "toy", overrides=overrides), what, waits=say):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def claims(root):
    """Starts processes that claim the workspace; what each says is read line by line."""
    started = []

    def start(what, *overrides):
        command = [sys.executable, "-c", CLAIM, str(root), what, *overrides]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_runs_with_other_parameters_go_one_after_the_other_in_the_order_they_came(root, claims):
    first = claims("a", "evaluate.seed=1")
    assert first.stdout.readline() == "ready\n"
    second = claims("b", "evaluate.seed=2")
    assert second.stdout.readline() == f"waits for a (process {first.pid})\n"
    third = claims("c", "evaluate.seed=1")  # the first one's parameters: it must not overtake
    assert third.stdout.readline() == f"waits for b (process {second.pid})\n"
    first.kill()
    assert [second.stdout.readline() for _ in range(2)] == ["goes on\n", "ready\n"]
    assert "seed: 2" in (root / "params.yaml").read_text()
    second.stdin.close()
    said = [next(line for line in iter(third.stdout.readline, "") if line == "goes on\n"), third.stdout.readline()]
    assert said == ["goes on\n", "ready\n"]
    assert live_runs(root) == [f"c (process {third.pid})"]


def test_a_record_of_a_process_that_is_gone_is_removed(root):
    folder = root / ".wmtp" / "runs"
    folder.mkdir(parents=True)
    pid, boot, ticks = processes.identity().split(":")
    (folder / "1.json").write_text(json.dumps({"process": f"{pid}:{boot}:{int(ticks) - 1}", "what": "gone"}))
    assert live_runs(root) == [] and not (folder / "1.json").exists()


@pytest.mark.parametrize("key", ["train", "validation"])
def test_a_data_file_that_does_not_exist_is_refused_by_its_key(root, key):
    paths = {"train": ".", "validation": ".", key: "no/such.jsonl"}
    overrides = ["data.source=jsonl", *(f"data.{name}_path={path}" for name, path in paths.items())]
    with pytest.raises(ConfigError, match=f"data.{key}_path=no/such.jsonl does not exist"):
        change_params(root, config(root, *overrides))
    assert not (root / "params.yaml").exists()
