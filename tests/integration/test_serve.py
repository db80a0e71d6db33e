"""`make serve`, its deployments and its worker, on a real Prefect server and the light pipeline."""

import os
import signal
import socket
import sys
import urllib.request

import pytest
import yaml

from flows.presets import PRESETS
from tests.integration.light import LightWorkspace
from tests.integration.served import Served
from tests.workspaces import PROJECT, wait_for


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    made = Served(tmp_path_factory.mktemp("served"))
    try:
        yield made
    finally:
        assert made.stop() == (0, [])


def test_presets_and_deployments_are_the_same():
    deployments = {one["name"]: one for one in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]}
    assert {name: {"profile": "demo", **preset} for name, preset in PRESETS.items()} == {
        name: one["parameters"] for name, one in deployments.items()
    }


def test_deployments_run_on_the_served_worker(served):
    assert served.said[:1] == [f"Prefect  http://127.0.0.1:{served.ports['WMTP_PREFECT_PORT']}\n"], "".join(served.said)
    for port in served.ports.values():
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).status == 200
    listed = served.workspace.run("prefect", "deployment", "ls")
    assert all(f"wmtp/{name}" in listed for name in PRESETS)
    assert "Completed" in served.deploy_run("--watch")
    wait_for(lambda: "6 stages ran, 0 were restored, 0 were up to date" in served.log(), 20, "the flow's result")
    assert served.workspace.stale() == []
    assert served.tasks() == {
        "params": "Completed",
        **dict.fromkeys(served.workspace.lock(), "Completed"),
    }


def test_the_form_offers_what_there_is(served):
    deployment = served.api("deployments/name/wmtp/compare")
    fields = deployment["parameter_openapi_schema"]["properties"]
    assert fields["profile"]["enum"] == ["demo", "mbpp", "toy"] and "configs/profiles" in fields["profile"]["description"]
    assert set(fields) == {"profile", "arms", "seeds", "overrides", "force", "only"}
    refused = served.workspace.run("prefect", "deployment", "run", "wmtp/compare", "--param", "profile=toi", code=1)
    assert "'toi' is not one of ['demo', 'mbpp', 'toy']" in refused


def test_a_mistake_is_said_in_the_runs_state(served):
    served.deploy_run("--param", 'overrides=["evaluate.temprature=1"]')
    assert "evaluate.temprature: did you mean temperature?" in served.wait_for_state("FAILED")["state"]["message"]


def test_a_cancelled_run_leaves_no_stage_and_the_next_goes_on(served):
    workspace = served.workspace
    served.deploy_slow_run("evaluate.seed=3")
    workspace.run("prefect", "flow-run", "cancel", served.newest_run()["id"])
    served.wait_for_state("CANCELLED", 60)
    wait_for(lambda: not stages_of(workspace), 30, "the stages' end")
    cancelled = served.tasks()
    assert "Completed" not in {state for name, state in cancelled.items() if name.startswith("train_policy@")}, cancelled
    workspace.slow_down(0)
    assert "Completed" in served.deploy_run("--watch", "--param", 'overrides=["evaluate.seed=3"]')
    assert workspace.stale() == []


def test_a_killed_worker_takes_its_stages_with_it(served):
    workspace = served.workspace
    served.deploy_slow_run("evaluate.seed=4")
    (worker,) = [one for one, command in workspace.commands() if "worker" in command and "prefect" in " ".join(command)]
    os.kill(worker.pid, signal.SIGKILL)
    wait_for(lambda: not stages_of(workspace), 10, "the stages' end")
    assert served.process.wait(timeout=20) == 1  # `make serve` ends with what it serves
    assert workspace.wait_until_gone(10) == []
    workspace.slow_down(0)
    served.start()
    assert "Completed" in served.deploy_run("--watch", "--param", 'overrides=["evaluate.seed=4"]')
    assert workspace.stale() == []


def stages_of(workspace):
    return [process for process, command in workspace.commands() if any(part.endswith("work.py") for part in command)]


def test_a_taken_port_is_said(tmp_path):
    workspace = LightWorkspace(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        output = workspace.run(sys.executable, "-m", "flows.serve", WMTP_PREFECT_PORT=port, code=2)
    assert f"port {port} for prefect is taken" in output and "WMTP_PREFECT_PORT" in output
