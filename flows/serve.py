"""`make serve`: a Prefect server, this workspace's deployments, a worker, and MLflow's pages. Ctrl-C ends all of them.

While it runs, the workspace's prefect.toml names its server, so that `prefect ...` and `wmtp run` use it. A prefect.toml of the
user's own, and Prefect's profiles, are never touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from flows import HOME
from wmtp import run_views, tracking
from wmtp.config import load_launch
from wmtp.edge import run_command
from wmtp.errors import ConfigError, LaunchError
from wmtp.files import write_text
from wmtp.orchestration import own_code, processes
from wmtp.orchestration.pipeline import find_root
from wmtp.orchestration.workspace import PAGES, served, serving

HOST = "127.0.0.1"
PORTS = {name: int(url.rpartition(":")[2]) for name, url in PAGES.items()}
"""Other ports: environment variables WMTP_PREFECT_PORT and WMTP_MLFLOW_PORT."""

_MAKE_STORE = "import sys; from wmtp.tracking import make_store; make_store(sys.argv[1])"
"""In a process of its own: MLflow would stay in this one's memory."""

TOML = "prefect.toml"
_MARK = "# Written by `make serve`, which removes it when it ends."

POOL = "wmtp"
_JSON = {"Content-Type": "application/json"}
RUNS_AT_ONCE = 8
"""Flow runs that the worker has a process for, those in line for their workspace among them; more stay `Late` in the queue."""
READY_SECONDS = 600.0
"""Long, for a busy machine: one that has ended is noticed at once."""


def main() -> int:
    """Exit code 0 after Ctrl-C or SIGTERM, 1 when one of the services ended by itself, 2 for a port that is taken."""
    processes.interrupt_on_sigterm()
    return run_command(_until_interrupted, interrupted="interrupted")


def _until_interrupted() -> int:
    with contextlib.suppress(KeyboardInterrupt):
        serve(find_root())
    return 0


def serve(root: Path, announce: Callable[[str], None] = print) -> None:
    """Run until interrupted.

    Raises:
        ConfigError: a port is taken; LaunchError: a service ended or did not come up (with its log's path).
    """
    ports = {name: _chosen(f"WMTP_{name.upper()}_PORT", port) for name, port in PORTS.items()}
    for name, port in ports.items():
        _require_free(name, port)
    url, pages_url = (f"http://{HOST}:{ports[name]}" for name in PORTS)
    environment = _environment(root, url)
    prefect = [sys.executable, "-m", "prefect"]
    server = [*prefect, "server", "start", "--host", HOST, "--port", str(ports["prefect"])]
    worker = [sys.executable, "-m", "flows.worker", "worker", "start", "--pool", POOL, "--type", "process"]
    worker += ["--name", f"local-{ports['prefect']}", "--limit", str(RUNS_AT_ONCE)]
    store = load_launch(root).tracking_uri or tracking.default_uri(root)
    pages = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    has_pages = not store.startswith("http")  # otherwise somebody else serves them
    with contextlib.ExitStack() as stack:
        services = _Services(root, environment)
        stack.callback(services.stop)
        services.start("prefect-server", server)
        if has_pages:
            services.call("MLflow's store", [sys.executable, "-c", _MAKE_STORE, store])
            services.start("mlflow", [*pages, "--host", HOST, "--port", str(ports["mlflow"]), "--workers", "1"])
        services.wait_until_ready("prefect-server", f"{url}/api/health")
        services.call("work pool", [*prefect, "work-pool", "create", POOL, "--type", "process", "--overwrite"])
        services.call("deployments", [*prefect, "--no-prompt", "deploy", "--all"])
        services.start("prefect-worker", worker)
        if has_pages:
            services.wait_until_ready("mlflow", f"{pages_url}/health")
        stack.enter_context(serving(root, {"prefect": url, "mlflow": pages_url if has_pages else store}))
        is_named = stack.enter_context(_named(root, f"{url}/api"))
        announce(f"Prefect  {url}")
        announce(f"MLflow   {_first_page(pages_url) if has_pages else store}")
        if not is_named:
            announce(f"Set      export PREFECT_API_URL={url}/api   ({TOML} is yours and stays as it is)")
        announce("Start    prefect deployment run wmtp/full-rho1   (in another terminal; Ctrl-C here ends everything)")
        services.watch()


def _chosen(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**16):
        raise ConfigError(f"{variable}={text} must be a port, a number from 1 to 65535")
    return int(text)


def _environment(root: Path, url: str) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {
        **own_code.environment(root, os.environ),
        **tracking.ENVIRONMENT,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # for traces and judges: eight processes of no use here
        "PATH": path,
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_UI_API_URL": f"{url}/api",
        "WMTP_WORKSPACE": str(root),
        "PYTHONUNBUFFERED": "1",
    }


def _first_page(url: str) -> str:
    """The scores of the experiment that was at work last; MLflow's list of experiments where there is none yet."""
    newest = {"filter": "name LIKE 'wmtp-%'", "order_by": ["last_update_time DESC"], "max_results": 1}
    request = urllib.request.Request(f"{url}/api/2.0/mlflow/experiments/search", json.dumps(newest).encode(), _JSON)
    with urllib.request.urlopen(request, timeout=READY_SECONDS) as answer:
        found = json.load(answer).get("experiments", [])
    return f"{url}/{run_views.view_page(found[0]['experiment_id']) if found else run_views.START}"


def _require_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            mend = f"stop what uses it, or set WMTP_{name.upper()}_PORT"
            raise ConfigError(f"port {port} for {name} is taken ({error.strerror}): {mend}") from None


def forget_dead_server(root: Path) -> None:
    """Remove the prefect.toml that a killed `make serve` left, so that the next run starts a server of its own."""
    path = root / TOML
    if _is_ours(path) and served(root) is None:
        path.unlink(missing_ok=True)


def _is_ours(path: Path) -> bool:
    return path.exists() and path.read_text(encoding="utf-8", errors="replace").startswith(_MARK)


@contextlib.contextmanager
def _named(root: Path, url: str) -> Iterator[bool]:
    """Prefect's settings in this workspace name the server for as long as the block lasts; False where they are the user's."""
    path = root / TOML
    if path.exists() and not _is_ours(path):
        yield False
        return
    write_text(path, f'{_MARK}\n[api]\nurl = "{url}"\n')
    try:
        yield True
    finally:
        if _is_ours(path):
            path.unlink()


class _Services:
    """Processes with a log each in .wmtp/serve/. They die with this one, whatever ends it."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root, self.environment = root, environment
        self.folder = root / ".wmtp" / "serve"
        for folder in (self.folder, root / HOME):
            folder.mkdir(parents=True, exist_ok=True)
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: list[str]) -> None:
        with self._log(name).open("wb") as log:
            self.running[name] = subprocess.Popen(
                command,
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=processes.die_with_parent,
            )

    def call(self, name: str, command: list[str]) -> None:
        """Run a command to its end."""
        done = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise LaunchError(f"{name}: {(done.stdout + done.stderr).strip()}")

    def wait_until_ready(self, name: str, url: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            self._require_alive()
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
                return
            time.sleep(0.2)
        raise LaunchError(f"{name} did not answer at {url} within {READY_SECONDS:.0f} s (log: {self._log(name)})")

    def watch(self) -> None:
        """Until one of them ends, which is an error."""
        while True:
            self._require_alive()
            time.sleep(0.5)

    def stop(self) -> None:
        """The worker first, so that its flow runs end their stages while the server still listens."""
        for name in reversed(self.running):
            processes.kill_tree(self.running[name])

    def _require_alive(self) -> None:
        for name, process in self.running.items():
            if process.poll() is not None:
                raise LaunchError(f"{name} ended with exit code {process.returncode} (log: {self._log(name)})")

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


if __name__ == "__main__":
    sys.exit(main())
