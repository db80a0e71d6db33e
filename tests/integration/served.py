"""A light workspace with `make serve` at work."""

import contextlib
import json
import signal
import sys
import time
import urllib.error
import urllib.request

import psutil

from tests.workspaces import PATIENCE_S, free_port, kill_all, wait_for

OFTEN = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "10"}
"""How often the worker asks for runs and the server looks at its schedules: by itself every 10 and 60 seconds."""


class Served:
    """A light workspace with `make serve` at work."""

    def __init__(self, workspace):
        self.workspace = workspace
        self.start()

    def start(self):
        self.ports = {name: str(free_port()) for name in ("WMTP_PREFECT_PORT", "WMTP_MLFLOW_PORT")}
        self.process = self.workspace.start(sys.executable, "-m", "flows.serve", **self.ports, **OFTEN)
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("Start "):
                break
        assert line.startswith("Start "), "".join(self.said)

    def deploy_run(self, *options, deployment="compare", code=0):
        parameters = [f"--param={one}" for one in ("profile=toy", 'arms=["baseline","rho1"]')]
        return self.workspace.run("prefect", "deployment", "run", f"wmtp/{deployment}", *parameters, *options, code=code)

    def deploy_slow_run(self, override):
        """A run with that setting, in the middle of a stage that would take ten minutes."""
        self.workspace.slow_down(600)
        begun = len(self.workspace.trace())
        self.deploy_run("--param", f'overrides=["{override}"]')
        wait_for(lambda: len(self.workspace.trace()) > begun, PATIENCE_S, "a stage")

    def log(self):
        return (self.workspace.root / ".wmtp/serve/prefect-worker.log").read_text()

    def api(self, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['WMTP_PREFECT_PORT']}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return json.loads(urllib.request.urlopen(request, timeout=60).read() or "null")
            except urllib.error.HTTPError as error:  # what its own clients do where the database was busy
                if error.code != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def delete(self, path):
        url = f"http://127.0.0.1:{self.ports['WMTP_PREFECT_PORT']}/api/{path}"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=60).close()

    def memory_bytes(self):
        """What `make serve` and all that it has started hold now; what several share is counted once."""
        parent, total = psutil.Process(self.process.pid), 0
        for one in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.memory_full_info().pss
        return total

    def suspend(self, run):
        """What the UI's button does; the server's answer."""
        suspended = {"type": "PAUSED", "name": "Suspended", "state_details": {"pause_reschedule": True}}
        return self.api(f"flow_runs/{run}/set_state", {"state": suspended})

    def resume(self, run):
        assert self.api(f"flow_runs/{run}/resume", {})["status"] == "ACCEPT"

    def points(self, sweep):
        """The flow runs of a sweep's points, the oldest first: name, kind of state, message."""
        wanted = {"flow_runs": {"parent_flow_run_id": {"any_": [sweep]}}, "sort": "START_TIME_ASC"}
        return [(one["name"], one["state_type"], one["state"]["message"]) for one in self.api("flow_runs/filter", wanted)]

    def newest_run(self):
        return self.api("flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})[0]

    def tasks(self):
        """The states of the newest run's tasks, by name."""
        tasks = self.api("task_runs/filter", {"flow_runs": {"id": {"any_": [self.newest_run()["id"]]}}})
        return {task["name"]: task["state"]["name"] for task in tasks}

    def wait_for_state(self, kind):
        wait_for(lambda: self.newest_run()["state_type"] == kind, PATIENCE_S, f"state {kind}")
        return self.newest_run()

    def stop(self):
        """Exit code, and the processes that it left."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE_S)
        left = self.workspace.wait_until_gone(60)
        kill_all(self.workspace.processes())
        return self.process.returncode, left
