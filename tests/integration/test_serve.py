"""`make serve` and the deployments, on a real Prefect server."""

import signal
import socket
import sys
import urllib.request

import yaml

from flows.presets import PRESETS
from tests.workspaces import PROJECT, wait_for


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_presets_and_deployments_are_the_same():
    deployments = {one["name"]: one for one in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]}
    assert {name: {"profile": "demo", **preset} for name, preset in PRESETS.items()} == {
        name: one["parameters"] for name, one in deployments.items()
    }


def test_a_deployment_runs_on_the_served_worker_and_nothing_is_left_after(fresh):
    prefect_port, mlflow_port = free_port(), free_port()
    server = fresh.start(sys.executable, "-m", "flows.serve", WMTP_PREFECT_PORT=prefect_port, WMTP_MLFLOW_PORT=mlflow_port)
    lines = []
    for line in server.stdout:
        lines.append(line)
        if line.startswith("Start "):
            break
    assert lines[:1] == [f"Prefect  http://127.0.0.1:{prefect_port}\n"], "".join(lines)
    for port in (prefect_port, mlflow_port):
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).status == 200
    listed = fresh.run("prefect", "deployment", "ls")
    assert all(f"wmtp/{name}" in listed for name in PRESETS)
    output = fresh.run("prefect", "deployment", "run", "wmtp/compare", "--param", "profile=toy", "--watch")
    assert "Completed" in output
    log = fresh.root / ".wmtp/serve/prefect-worker.log"
    wait_for(lambda: "0 stages ran, 0 were restored, 12 were up to date" in log.read_text(), 20, "the flow's result")
    refused = fresh.run("prefect", "deployment", "run", "wmtp/compare", "--param", "profile=toi", "--watch", code=1)
    assert "'toi' is not one of ['demo', 'mbpp', 'toy']" in refused
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=30)
    assert server.returncode == 0
    assert fresh.wait_until_gone(10) == []
    assert not (fresh.root / ".wmtp/prefect/profiles.toml").exists()


def test_a_taken_port_is_said(fresh):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        output = fresh.run(sys.executable, "-m", "flows.serve", WMTP_PREFECT_PORT=port, code=2)
    assert f"port {port} for prefect is taken" in output and "WMTP_PREFECT_PORT" in output
