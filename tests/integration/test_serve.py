"""`make serve`, its deployments and its worker, on a real Prefect server and the light pipeline."""

import contextlib
import http.server
import os
import signal
import socket
import sys
import threading
import urllib.request

import pytest
import yaml

from tests.integration.light import LightWorkspace
from tests.integration.served import Served
from tests.workspaces import PATIENCE_S, PROJECT, free_port, wait_for
from wmtp.cli_flows import PRESETS
from wmtp.orchestration.workspace import live_runs

CANCELLED = "cancelled; the next run goes on where this one stopped"
SUSPENDED = "suspended with its sweep; when that is resumed, another flow run goes on where this one stopped"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    workspace = LightWorkspace(tmp_path_factory.mktemp("served"))
    workspace.commit()
    made = Served(workspace)
    try:
        yield made
    finally:
        assert made.stop() == (0, [])


def test_presets_and_deployments_are_the_same():
    written = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    deployments = {one["name"]: one for one in written if one["entrypoint"] == "flows.wmtp.wmtp"}
    assert {name: ({"profile": "demo", **preset.parameters}, preset.what) for name, preset in PRESETS.items()} == {
        name: (one["parameters"], one["description"]) for name, one in deployments.items()
    }


def test_deployments_run_on_the_served_worker(served):
    assert served.said[:1] == [f"Prefect  http://127.0.0.1:{served.ports['WMTP_PREFECT_PORT']}\n"], "".join(served.said)
    for port in served.ports.values():
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).status == 200
    listed = served.workspace.run("prefect", "deployment", "ls")
    assert all(f"wmtp/{name}" in listed for name in PRESETS)
    assert "Completed" in served.deploy_run("--watch")
    wait_for(lambda: "stages: 6 ran, 0 restored, 0 up to date" in served.log(), PATIENCE_S, "the flow's result")
    wait_for(lambda: served.memory_bytes() <= 2**30, PATIENCE_S, "at most 1 GiB, once the flow's own process is gone")
    assert served.workspace.stale() == []
    assert served.tasks() == {
        "params": "Completed",
        **dict.fromkeys(served.workspace.lock(), "Completed"),
    }


def test_a_second_run_finds_every_task_cached(served):
    assert "Completed" in served.deploy_run("--watch")
    assert served.tasks() == {"params": "Completed", **dict.fromkeys(served.workspace.lock(), "Cached")}


def test_the_form_offers_what_there_is(served):
    deployment = served.api("deployments/name/wmtp/compare")
    fields = deployment["parameter_openapi_schema"]["properties"]
    assert fields["profile"]["enum"] == sorted(path.stem for path in (PROJECT / "configs/profiles").glob("*.yaml"))
    assert "configs/profiles" in fields["profile"]["description"]
    assert set(fields) == {"profile", "arms", "seeds", "overrides", "force", "only", "workspace", "pull"}
    refused = served.workspace.run("prefect", "deployment", "run", "wmtp/compare", "--param", "profile=toi", code=1)
    assert "'toi' is not one of [" in refused and "'demo', " in refused


def test_a_mistake_is_said_in_the_runs_state(served):
    served.deploy_run("--param", 'overrides=["evaluate.temprature=1"]')
    assert "evaluate.temprature: did you mean temperature?" in served.wait_for_state("FAILED")["state"]["message"]


def test_a_run_with_other_parameters_waits_its_turn_and_one_in_a_workspace_runs_beside_it(served):
    workspace = served.workspace
    served.deploy_slow_run("evaluate.seed=11")
    first = served.newest_run()["id"]
    served.deploy_run("--param", 'overrides=["evaluate.seed=12"]')
    second = served.newest_run()["id"]
    wait_for(lambda: served.api(f"flow_runs/{second}")["state_name"] == "Waiting", PATIENCE_S, "the state")
    said = served.api(f"flow_runs/{second}")["state"]["message"]
    assert said.startswith("for its turn in this workspace, after flow run of baseline-s0, rho1-s0 (process "), said
    assert served.suspend(second)["status"] == "ACCEPT"
    line = workspace.root / ".wmtp/runs/waiting"
    wait_for(lambda: not list(line.iterdir()), PATIENCE_S, "its place in the line being free")
    assert served.api(f"flow_runs/{second}")["state_name"] == "Suspended"
    served.resume(second)
    wait_for(lambda: served.api(f"flow_runs/{second}")["state_name"] == "Waiting", PATIENCE_S, "the state again")
    served.deploy_run("--param", 'overrides=["evaluate.seed=13"]', "--param", "workspace=beside")
    assert served.wait_for_state("COMPLETED")["name"] == "beside, toy: baseline, rho1"
    beside = workspace.root / ".wmtp/workspaces/beside"
    assert "seed: 13" in (beside / "params.yaml").read_text()
    assert not any(name == "sample" for name, *_ in trace_of(beside)), "it was computed in the clone, and is restored"
    assert served.api(f"flow_runs/{second}")["state_name"] == "Waiting"
    workspace.slow_down(0)
    workspace.run("prefect", "flow-run", "cancel", first)
    wait_for(lambda: served.api(f"flow_runs/{second}")["state_type"] == "COMPLETED", PATIENCE_S, "the second run's turn")
    assert "seed: 12" in (workspace.root / "params.yaml").read_text() and workspace.stale() == []


def test_a_sweeps_points_are_flow_runs_and_one_that_fails_keeps_no_other_from_being_made(served):
    workspace = served.workspace
    (workspace.root / "break").write_text("  seed: 21\n")
    served.deploy_run("--param", 'overrides=["evaluate.seed=21,22"]', deployment="sweep")
    sweep = served.newest_run()["id"]
    wait_for(lambda: served.api(f"flow_runs/{sweep}")["state_type"] == "FAILED", PATIENCE_S, "the sweep's end")
    (workspace.root / "break").unlink()
    said = served.api(f"flow_runs/{sweep}")["state"]["message"]
    assert said.startswith("1 of 2 points failed: evaluate.seed=21: ") and "broken by the test" in said
    assert [point[:2] for point in served.points(sweep)] == [
        ("toy: evaluate.seed=21", "FAILED"),
        ("toy: evaluate.seed=22", "COMPLETED"),
    ]
    assert workspace.stale() == [] and "seed: 22" in (workspace.root / "params.yaml").read_text()


def trace_of(root):
    return [line.split() for line in (root / "trace.log").read_text().splitlines()]


def test_a_cancelled_run_leaves_no_stage_and_the_next_goes_on(served):
    workspace = served.workspace
    served.deploy_slow_run("evaluate.seed=3")
    workspace.run("prefect", "flow-run", "cancel", served.newest_run()["id"])
    served.wait_for_state("CANCELLED")
    wait_for(lambda: not stages_of(workspace), PATIENCE_S, "the stages' end")
    cancelled = served.tasks()
    assert "Completed" not in {state for name, state in cancelled.items() if name.startswith("train_policy@")}, cancelled
    workspace.slow_down(0)
    assert "Completed" in served.deploy_run("--watch", "--param", 'overrides=["evaluate.seed=3"]')
    assert workspace.stale() == []


def test_a_suspended_run_ends_its_stages_and_goes_on_when_it_is_resumed(served):
    """Prefect alone would let a stage of a week run to its end."""
    workspace = served.workspace
    served.deploy_slow_run("evaluate.seed=5")
    run = served.newest_run()["id"]
    assert served.suspend(run)["status"] == "ACCEPT"
    wait_for(lambda: not stages_of(workspace), PATIENCE_S, "the stages' end")
    assert served.wait_for_state("PAUSED")["id"] == run
    assert "Completed" not in {state for name, state in served.tasks().items() if name.startswith("train_policy@")}
    workspace.slow_down(0)
    served.resume(run)
    assert served.wait_for_state("COMPLETED")["id"] == run
    assert workspace.stale() == []


def test_a_sweep_is_suspended_and_resumed_and_one_of_its_points_cancelled(served):
    """A point ends its stages whichever is asked; what is shown of it is what has become of it."""
    workspace = served.workspace
    workspace.slow_down(600)
    served.deploy_run("--param", 'overrides=["evaluate.seed=31,32"]', deployment="sweep")
    sweep = served.newest_run()["id"]
    wait_for(lambda: stages_of(workspace), PATIENCE_S, "a stage")
    point = served.newest_run()["id"]
    assert point != sweep
    assert served.suspend(point)["details"]["reason"] == "Cannot suspend subflows."
    assert served.suspend(sweep)["status"] == "ACCEPT"
    wait_for(lambda: not stages_of(workspace), PATIENCE_S, "the stages' end")
    suspended = ("toy: evaluate.seed=31", "CANCELLED", SUSPENDED)
    wait_for(lambda: served.points(sweep) == [suspended], PATIENCE_S, "the point's end")
    assert served.api(f"flow_runs/{sweep}")["state_name"] == "Suspended"
    wait_for(lambda: not live_runs(workspace.root), PATIENCE_S, "the workspace being free")
    served.resume(sweep)
    wait_for(lambda: stages_of(workspace), PATIENCE_S, "a stage again")
    workspace.run("prefect", "flow-run", "cancel", served.newest_run()["id"])
    workspace.slow_down(0)
    wait_for(lambda: served.api(f"flow_runs/{sweep}")["state_type"] == "FAILED", PATIENCE_S, "the sweep's end")
    *cancelled, made = served.points(sweep)
    assert cancelled == [suspended, ("toy: evaluate.seed=31", "CANCELLED", CANCELLED)]
    assert made[:2] == ("toy: evaluate.seed=32", "COMPLETED")
    said = served.api(f"flow_runs/{sweep}")["state"]["message"]
    assert said == f"1 of 2 points failed: evaluate.seed=31: {CANCELLED}"
    assert workspace.stale() == [] and "seed: 32" in (workspace.root / "params.yaml").read_text()


def test_a_run_in_a_terminal_is_cancelled_in_the_ui_too(served):
    workspace = served.workspace
    workspace.slow_down(600)
    run = workspace.start_flow("evaluate.seed=6")
    wait_for(lambda: stages_of(workspace), PATIENCE_S, "a stage")
    shown = served.newest_run()["id"]
    workspace.run("prefect", "flow-run", "cancel", shown)
    output, _ = run.communicate(timeout=PATIENCE_S)
    workspace.slow_down(0)
    assert run.returncode == 1 and output.splitlines()[-1] == f"error: {CANCELLED}", output
    assert served.api(f"flow_runs/{shown}")["state_type"] == "CANCELLED"
    assert not stages_of(workspace)


def test_a_stage_that_stands_still_is_shown_so_and_waiting_ones_have_their_names(served):
    workspace = served.workspace
    said = "train_policy@baseline-s0: no progress for 150 s, rank 1 is stopped; every rank's stack is in the log"
    (workspace.root / "say").write_text(said + "\n")
    served.deploy_slow_run("train_policy.train.steps=7")
    wait_for(lambda: "NoProgress" in served.tasks().values(), PATIENCE_S, "the state")
    waiting = [name for name, state in served.tasks().items() if state == "Pending"]
    assert waiting and all(name.startswith(("evaluate@", "report", "train_policy@")) for name in waiting), waiting
    (workspace.root / "say").unlink()
    workspace.slow_down(0)
    served.workspace.run("prefect", "flow-run", "cancel", served.newest_run()["id"])
    served.wait_for_state("CANCELLED")


def test_a_killed_worker_takes_its_stages_with_it(served):
    workspace = served.workspace
    served.deploy_slow_run("evaluate.seed=4")
    (worker,) = [one for one, command in workspace.commands() if "flows.worker" in command]
    os.kill(worker.pid, signal.SIGKILL)
    wait_for(lambda: not stages_of(workspace), PATIENCE_S, "the stages' end")
    assert served.process.wait(timeout=PATIENCE_S) == 1  # `make serve` ends with what it serves
    assert workspace.wait_until_gone() == []
    workspace.slow_down(0)
    served.start()
    assert "Completed" in served.deploy_run("--watch", "--param", 'overrides=["evaluate.seed=4"]')
    assert workspace.stale() == []


def stages_of(workspace):
    return [process for process, command in workspace.commands() if any(part.endswith("work.py") for part in command)]


def test_a_schedule_fires(served):
    """The server's scheduler must understand its database: with SQLAlchemy 2.1 it fails on every round."""
    deployment = served.api("deployments/name/wmtp/stage")["id"]
    every_hour = {"active": True, "schedule": {"interval": 3600, "anchor_date": "2026-01-01T00:00:00Z"}}
    (schedule,) = served.api(f"deployments/{deployment}/schedules", [every_hour])
    scheduled = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    wait_for(lambda: served.api("flow_runs/filter", scheduled), PATIENCE_S, "a run of the schedule")
    served.delete(f"deployments/{deployment}/schedules/{schedule['id']}")


def test_what_is_the_users_stays_the_users(tmp_path):
    """A prefect.toml, and what `prefect config set` has written, before, during and after `make serve`."""
    workspace = LightWorkspace(tmp_path)
    workspace.run("prefect", "config", "set", "PREFECT_LOGGING_LEVEL=WARNING")
    own = {workspace.root / ".wmtp/prefect/profiles.toml": None, workspace.root / "prefect.toml": "[logging]\nlevel = 'INFO'\n"}
    own = {path: path.read_text() if text is None else text for path, text in own.items()}
    for path, text in own.items():
        path.write_text(text)
    served = Served(workspace)
    assert {path: path.read_text() for path in own} == own
    assert any(line.startswith("Set      export PREFECT_API_URL=http://127.0.0.1:") for line in served.said)
    assert served.stop() == (0, [])
    assert {path: path.read_text() for path in own} == own


@pytest.mark.parametrize("answer", [None, b"not a server of Prefect's"])
def test_an_address_without_prefect_is_refused_in_one_line(tmp_path, answer):
    workspace = LightWorkspace(tmp_path)
    with http_server(answer) as port:
        output = workspace.run(
            "wmtp", "run", "compare", "--profile", "toy", code=2, PREFECT_API_URL=f"http://127.0.0.1:{port}/api"
        )
    line = f"error: PREFECT_API_URL=http://127.0.0.1:{port}/api is not the address of a Prefect server that answers ("
    assert output.startswith(line) and output.count("\n") == 1, output
    assert not (workspace.root / "artifacts").exists()


def test_settings_that_prefect_cannot_read_are_refused_in_one_line(tmp_path):
    (tmp_path / "prefect.toml").write_text('[api]\nurl = "')
    said = LightWorkspace(tmp_path).run("wmtp", "run", "compare", "--profile", "toy", code=2).splitlines()
    assert said[-1].startswith("error: Prefect's settings (environment, prefect.toml, profiles) cannot be read: "), said
    assert not any(line.startswith("Traceback") for line in said)


@contextlib.contextmanager
def http_server(answer):
    """Whatever is asked, it says `answer`; a port where nobody listens when that is None."""
    if answer is None:
        yield free_port()
        return

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *about):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def test_a_taken_port_is_said(tmp_path):
    workspace = LightWorkspace(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        output = workspace.run(sys.executable, "-m", "flows.serve", WMTP_PREFECT_PORT=port, code=2)
    assert f"port {port} for prefect is taken" in output and "WMTP_PREFECT_PORT" in output
