"""A stage's child process: one rank. `python -m wmtp.stages`, started by wmtp.launch with WMTP_CONTEXT set."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from wmtp.config import Config, load_launch, read_params
from wmtp.errors import WmtpError
from wmtp.stages.context import StageContext
from wmtp.tracking import MlflowTracker, NullTracker, Tracker, default_uri


def main() -> int:
    given: dict[str, Any] = json.loads(os.environ["WMTP_CONTEXT"])
    _die_with(given["owner"])
    root, rank = Path(given["root"]), int(os.environ.get("RANK", "0"))
    try:
        config = read_params(root / "params.yaml")
        context = _context(given, root, rank, config)
    except WmtpError as error:
        return _report(given, rank, error)
    try:
        module = importlib.import_module(f"wmtp.stages.{context.stage}")
        result = module.run(config, context)
    except BaseException as error:
        context.tracker.close("FAILED", f"{type(error).__name__}: {error}")
        return _report(given, rank, error)
    context.tracker.close()
    if rank == 0:
        _print_result(given["name"], result.metrics, result.counts)
    return 0


def _context(given: dict[str, Any], root: Path, rank: int, config: Config) -> StageContext:
    launch = load_launch(root)
    tracker: Tracker = NullTracker()
    if rank == 0:
        tracker = MlflowTracker(root, launch.tracking_uri or default_uri(root), f"wmtp-{config.profile}", given["name"], _tags(given, config, root))
        tracker.log_params(_flat(dataclasses.asdict(config)))
    return StageContext(
        name=given["name"],
        root=root,
        outputs={out: Path(path) for out, path in given["outputs"].items()},
        resume=Path(given["resume"]),
        fingerprint=given["fingerprint"],
        launch=launch,
        tracker=tracker,
        rank=rank,
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
    )


def _tags(given: dict[str, Any], config: Config, root: Path) -> dict[str, str]:
    stage, _, run = given["name"].partition("@")
    tags = {"stage": stage, "fingerprint": given["fingerprint"], "profile": config.profile}
    if run in config.runs:
        tags |= {"run": run, "arm": config.runs[run].arm, "seed": str(config.runs[run].seed)}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    if commit.returncode == 0:
        tags["git_commit"] = commit.stdout.strip()
    if "PREFECT__FLOW_RUN_ID" in os.environ:
        tags["prefect_run_id"] = os.environ["PREFECT__FLOW_RUN_ID"]
    return tags


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _die_with(owner: int) -> None:
    """End this process within a second of its launcher's death, however that came about."""

    def watch() -> None:
        while os.path.exists(f"/proc/{owner}") if os.path.isdir("/proc") else _alive(owner):
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="owner").start()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _report(given: dict[str, Any], rank: int, error: BaseException) -> int:
    """Leave the error for the launcher; a traceback only for what is not a user's to mend."""
    code = error.exit_code if isinstance(error, WmtpError) else 1
    record = {"rank": rank, "type": type(error).__name__, "message": str(error), "exit_code": code, "time": time.time()}
    (Path(given["errors"]) / f"rank-{rank}.json").write_text(json.dumps(record), encoding="utf-8")
    if not isinstance(error, WmtpError):
        traceback.print_exception(error)
    return code


def _print_result(name: str, metrics: dict[str, float], counts: dict[str, int]) -> None:
    shown = {**metrics, **counts}
    width = max((len(key) for key in shown), default=0)
    print(f"{name} done", flush=True)
    for key, value in shown.items():
        text = f"{value:,}" if isinstance(value, int) else f"{value:.5g}"
        print(f"  {key:<{width}}  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
