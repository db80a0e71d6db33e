"""A stage's child process: one rank. `python -m wmtp.stages`, started by wmtp.orchestration.launch with an assignment."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
import traceback
from functools import partial

from wmtp.config import Config, read_params
from wmtp.config.arms import plain
from wmtp.errors import LaunchError, PreemptedError, WmtpError
from wmtp.files import write_json
from wmtp.ledger import lines_of
from wmtp.notice import Told, listen, stop_listening
from wmtp.orchestration import leases, own_code, processes
from wmtp.orchestration.assignment import ENVIRONMENT, HOST, Assignment
from wmtp.orchestration.pipeline import PARAMS
from wmtp.orchestration.provenance import commit, host_facts
from wmtp.orchestration.watch import show_stacks_on_request
from wmtp.stages.context import StageContext
from wmtp.stages.declared import declared_only, declared_values
from wmtp.tracking import JournalTracker, NullTracker, Tracker

LAST_WORDS_SECONDS = 0.5

_FIRST = ("pass@1", "greedy_pass@1", "val/auc", "val/nll_head0", "nll/head0", "train/examples", "validation/examples")
_NUM_FIRST = 3
"""What one looks for first in a stage's result, and how much of it its name stands beside."""


def main() -> int:
    given = Assignment.from_json(os.environ[ENVIRONMENT])
    own_code.require_own(given.root)
    processes.die_with_parent()
    processes.on_death([given.owner], lambda: os.kill(os.getpid(), signal.SIGKILL))
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())  # the launcher keeps torchrun's own stderr aside
    rank = int(os.environ.get("RANK", "0"))
    leases.end_with_lease(os.environ, partial(_end_at_once, given, rank))
    tracker: Tracker = NullTracker()
    try:
        listen()
        show_stacks_on_request(given.folder, rank)  # from here on others know of this rank
        config = read_params(given.folder / PARAMS)
        if rank == 0:
            tracker = _tracker(given, config)
            write_json(given.folder / HOST, host_facts())
        context = _context(given, rank, tracker, config)
        module = importlib.import_module(f"wmtp.stages.{context.stage}")
        result = module.run(declared_only(config, given.declared, given.name), context)
        stop_listening()
    except Told:
        return _report(given, rank, PreemptedError(None))
    except BaseException as error:
        stop_listening()
        return _report(given, rank, error)
    if rank == 0:
        tracker.log_metrics({f"result/{key}": value for key, value in result.metrics.items()}, step=0)
        tracker.log_metrics({f"count/{key}": value for key, value in result.counts.items()}, step=0)
        _print_result(given.name, result.metrics, result.counts)
    return 0


def _context(given: Assignment, rank: int, tracker: Tracker, config: Config) -> StageContext:
    return StageContext(
        name=given.name,
        root=given.root,
        outputs=given.outputs,
        resume=given.resume,
        fingerprint=given.fingerprint,
        launch=given.launch,
        tracker=tracker,
        rank=rank,
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
        runtime=config.runtime,
    )


def _tracker(given: Assignment, config: Config) -> Tracker:
    tags = _tags(given, config)
    tracker = JournalTracker(given.journal, experiment=f"wmtp-{config.profile}", name=given.name, tags=tags)
    tracker.log_params(declared_values(plain(config), given.declared))
    return tracker


def _tags(given: Assignment, config: Config) -> dict[str, str]:
    stage, _, run = given.name.partition("@")
    tags = {"stage": stage, "fingerprint": given.fingerprint, "profile": config.profile}
    if run in config.runs:
        tags |= {"run": run, "arm": config.runs[run].arm, "seed": str(config.runs[run].seed)}
    tags["mlflow.note.content"] = "Outputs:\n" + "\n".join(f"- `{given.root / out}`" for out in sorted(given.outputs))
    found = commit(given.root)
    if found is not None:
        tags["git_commit"] = found
    if "WMTP_FLOW_RUN_ID" in os.environ:
        tags["prefect_run_id"] = os.environ["WMTP_FLOW_RUN_ID"]
    return tags


def _report(given: Assignment, rank: int, error: BaseException) -> int:
    """Leave the error for the launcher; a traceback only for what is not a user's to mend."""
    code = error.exit_code if isinstance(error, WmtpError) else 1
    record = {"rank": rank, "type": type(error).__name__, "message": str(error), "exit_code": code, "time": time.time()}
    if isinstance(error, PreemptedError):
        record["step"] = error.step
    write_json(given.folder / f"rank-{rank}.json", record)
    if not isinstance(error, WmtpError):
        traceback.print_exception(error)
    return code


def _end_at_once(given: Assignment, rank: int, error: BaseException) -> None:
    """Whatever the process is at, and whether its last words can be written or not."""
    threading.Thread(target=_report, args=(given, rank, error), daemon=True).start()
    time.sleep(LAST_WORDS_SECONDS)
    os._exit(1)


def _print_result(name: str, metrics: dict[str, float], counts: dict[str, int]) -> None:
    """The stage's last lines: the numbers that one looks for first beside its name, all measures, and counts as equations."""
    first = [f"{key} {metrics[key]:.4g}" for key in _FIRST if key in metrics][:_NUM_FIRST]
    print(f"{name} done" + (f": {', '.join(first)}" if first else ""), flush=True)
    width = max((len(key) for key in metrics), default=0)
    for key, value in metrics.items():
        print(f"  {key:<{width}}  {value:.5g}", flush=True)
    for line in lines_of(counts):
        print(f"  {line}", flush=True)


if __name__ == "__main__":
    try:
        exit_code = main()
    except LaunchError as failure:  # before there was a place to leave it
        sys.exit(f"error: {failure}")
    sys.stdout.flush()
    os._exit(exit_code)  # everything is written; taking torch's modules apart would cost each stage most of a second
