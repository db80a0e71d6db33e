"""A pipeline of wmtp's shape whose stages take milliseconds: for what DVC and Prefect say of stages, not for what they compute.

Outputs are a function of inputs and parameters; see `work`.
"""

import copy
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import yaml

from tests.workspaces import PATIENCE_S, PROJECT, Workspace, free_port, wait_for

RUNS = {
    "train_policy": {
        "deps": ["artifacts/data"],
        "params": ["arms.${item.arm}", "train_policy"],
        "outs": ["artifacts/policy/${key}"],
    },
    "evaluate": {"deps": ["artifacts/policy/${key}"], "params": ["evaluate"], "outs": ["artifacts/evaluation/${key}"]},
}
PIPELINE = {
    "sample": {"cmd": "python work.py sample", "deps": ["work.py"], "params": ["data"], "outs": ["artifacts/data"]},
    **{name: {"foreach": "${runs}", "do": {"cmd": f"python work.py {name}@${{key}}", **stage}} for name, stage in RUNS.items()},
    "report": {
        "cmd": "python work.py report",
        "deps": ["artifacts/evaluation"],
        "params": ["report"],
        "outs": ["artifacts/report"],
    },
}


class LightWorkspace(Workspace):
    def __init__(self, root, prefect_url=None):
        super().__init__(root, prefect_url)
        shutil.copy(PROJECT / "tests/integration/work.py", self.root)
        self.write_pipeline(PIPELINE)

    def copy(self, root):
        """Another one in the same state: what this one's flow has made need not be made again."""
        shutil.copytree(self.root, root, symlinks=True)
        other = copy.copy(self)
        other.root, other.slots = root, root / self.slots.name
        return other

    def commit(self, message="first"):
        """All but what steers and records the stages of the test."""
        (self.root / ".git/info/exclude").write_text("*.log\nseconds\nbreak\nsay\n.wmtp-slots/\n.wmtp-*/\n")
        who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
        self.run("git", *who, "add", "--all")
        self.run("git", *who, "commit", "--quiet", "--message", message)

    def write_pipeline(self, stages):
        plots = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["plots"]
        (self.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages, "plots": plots}, sort_keys=False))

    def flow(self, *arguments, **how):
        return self.run("wmtp", "run", "compare", "--profile", "toy", "--arms", "baseline,rho1", *arguments, **how)

    def start_flow(self, *arguments):
        return self.start("wmtp", "run", "compare", "--profile", "toy", "--arms", "baseline,rho1", *arguments)

    def params(self, *overrides):
        return self.run("wmtp", "params", "--profile", "toy", "--arms", "baseline,rho1", *overrides)

    def ran(self):
        """(stage, digest of its outputs) of every execution that came to its end."""
        path = self.root / "ran.log"
        return [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []

    def trace(self):
        """(stage, "begins" or "ends", time)."""
        path = self.root / "trace.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(name, what, float(when)) for name, what, when, _ in map(str.split, lines)]

    def slow_down(self, seconds):
        (self.root / "seconds").write_text(str(seconds))


@contextmanager
def prefect_server(folder, **environment):
    """A Prefect server of the test's own; the address of its API."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = start_server(folder, port, **environment)
    try:
        wait_until_healthy(process, url)
        yield f"{url}/api"
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


def start_server(folder, port, **environment):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        cwd=folder,
        env={**kept, **environment, "PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_until_healthy(process, url):
    import urllib.request

    def answers():
        assert process.poll() is None, "the Prefect server ended"
        try:
            return urllib.request.urlopen(f"{url}/api/health", timeout=30).status == 200
        except OSError:
            return False

    wait_for(answers, 2 * PATIENCE_S, "Prefect's server")
