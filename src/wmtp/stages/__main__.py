"""A stage's child process: one rank. `python -m wmtp.stages`, started by wmtp.orchestration.launch with WMTP_CONTEXT set."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from wmtp.config import Config, LaunchConfig, read_params
from wmtp.errors import WmtpError
from wmtp.orchestration import processes
from wmtp.stages.context import StageContext
from wmtp.stages.declared import declared_only, declared_values
from wmtp.tracking import JournalTracker, NullTracker, Tracker


def main() -> int:
    given: dict[str, Any] = json.loads(os.environ["WMTP_CONTEXT"])
    processes.die_with_parent()
    processes.on_death([given["owner"]], lambda: os.kill(os.getpid(), signal.SIGKILL))
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())  # the launcher keeps torchrun's own stderr aside
    root, rank = Path(given["root"]), int(os.environ.get("RANK", "0"))
    tracker: Tracker = NullTracker()
    try:
        config = read_params(Path(given["params"]))
        if rank == 0:
            tracker = _tracker(given, config, root)
        context = _context(given, root, rank, tracker)
        module = importlib.import_module(f"wmtp.stages.{context.stage}")
        result = module.run(declared_only(config, given["declared"], given["name"]), context)
    except BaseException as error:
        return _report(given, rank, error)
    if rank == 0:
        tracker.log_metrics({f"result/{key}": value for key, value in result.metrics.items()}, step=0)
        tracker.log_metrics({f"count/{key}": value for key, value in result.counts.items()}, step=0)
        _print_result(given["name"], result.metrics, result.counts)
    return 0


def _context(given: dict[str, Any], root: Path, rank: int, tracker: Tracker) -> StageContext:
    return StageContext(
        name=given["name"],
        root=root,
        outputs={out: Path(path) for out, path in given["outputs"].items()},
        resume=Path(given["resume"]),
        fingerprint=given["fingerprint"],
        launch=LaunchConfig(**given["launch"]),
        tracker=tracker,
        rank=rank,
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
    )


def _tracker(given: dict[str, Any], config: Config, root: Path) -> Tracker:
    name, profile = given["name"], given["profile"]
    tracker = JournalTracker(Path(given["journal"]), experiment=f"wmtp-{profile}", name=name, tags=_tags(given, config, root))
    tracker.log_params(declared_values(dataclasses.asdict(config), given["declared"]))
    return tracker


def _tags(given: dict[str, Any], config: Config, root: Path) -> dict[str, str]:
    stage, _, run = given["name"].partition("@")
    tags = {"stage": stage, "fingerprint": given["fingerprint"], "profile": config.profile}
    if run in config.runs:
        tags |= {"run": run, "arm": config.runs[run].arm, "seed": str(config.runs[run].seed)}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    if commit.returncode == 0:
        tags["git_commit"] = commit.stdout.strip()
    if "WMTP_FLOW_RUN_ID" in os.environ:
        tags["prefect_run_id"] = os.environ["WMTP_FLOW_RUN_ID"]
    return tags


def _report(given: dict[str, Any], rank: int, error: BaseException) -> int:
    """Leave the error for the launcher; a traceback only for what is not a user's to mend."""
    code = error.exit_code if isinstance(error, WmtpError) else 1
    record = {"rank": rank, "type": type(error).__name__, "message": str(error), "exit_code": code, "time": time.time()}
    temporary = Path(given["errors"]) / f".rank-{rank}.tmp"
    temporary.write_text(json.dumps(record), encoding="utf-8")
    os.replace(temporary, temporary.with_name(f"rank-{rank}.json"))
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
    exit_code = main()
    sys.stdout.flush()
    os._exit(exit_code)  # everything is written; taking torch's modules apart would cost each stage most of a second
