"""`make serve`, its deployments and its worker, on a real Prefect server and the light pipeline."""

import json
import os
import signal
import socket
import sys
import urllib.request

import pytest
import yaml

from flows.presets import PRESETS
from tests.integration.light import LightWorkspace
from tests.workspaces import PROJECT, kill_all, wait_for


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Served:
    """A light workspace with `make serve` at work."""

    def __init__(self, root):
        self.workspace = LightWorkspace(root)
        self.start()

    def start(self):
        self.ports = {"WMTP_PREFECT_PORT": free_port(), "WMTP_MLFLOW_PORT": free_port()}
        self.process = self.workspace.start(sys.executable, "-m", "flows.serve", **self.ports)
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("Start "):
                break

    def deploy_run(self, *options, deployment="compare", code=0):
        parameters = [f"--param={one}" for one in ("profile=toy", 'arms=["baseline","rho1"]')]
        return self.workspace.run("prefect", "deployment", "run", f"wmtp/{deployment}", *parameters, *options, code=code)

    def deploy_slow_run(self, override):
        """A run with that setting, in the middle of a stage that would take a minute."""
        self.workspace.slow_down(60)
        begun = len(self.workspace.trace())
        self.deploy_run("--param", f'overrides=["{override}"]')
        wait_for(lambda: len(self.workspace.trace()) > begun, 60, "a stage")

    def log(self):
        return (self.workspace.root / ".wmtp/serve/prefect-worker.log").read_text()

    def api(self, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['WMTP_PREFECT_PORT']}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        return json.loads(urllib.request.urlopen(request, timeout=10).read() or "null")

    def newest_run(self):
        return self.api("flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})[0]

    def wait_for_state(self, kind, seconds=60):
        wait_for(lambda: self.newest_run()["state_type"] == kind, seconds, f"state {kind}")
        return self.newest_run()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    made = Served(tmp_path_factory.mktemp("served"))
    try:
        yield made
    finally:
        made.process.send_signal(signal.SIGTERM)
        made.process.communicate(timeout=30)
        left = made.workspace.wait_until_gone(10)
        kill_all(made.workspace.processes())
        assert (made.process.returncode, left) == (0, [])
        assert not (made.workspace.root / ".wmtp/prefect/profiles.toml").exists()


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
    tasks = served.api("task_runs/filter", {"flow_runs": {"id": {"any_": [served.newest_run()["id"]]}}})
    assert {task["name"]: task["state"]["name"] for task in tasks} == {
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
    served.wait_for_state("CANCELLED", 30)
    wait_for(lambda: not stages_of(workspace), 10, "the stages' end")
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
