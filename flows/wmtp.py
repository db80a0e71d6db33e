"""The flow: DVC's graph as Prefect tasks.

Load it as the module `flows.wmtp`, not as a file: a file's folder goes on sys.path, where this one would hide the
package wmtp.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Failed, Running
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows import HOME
from flows.asked import Asked, CancelledByPersonError
from flows.choices import CHOSEN, TARGET, arm_names, profile_names, stage_names
from tasks.params import compose_params
from tasks.stage import PREEMPTED, begin, run_stage, show_flow_state, stop_all
from tasks.telling import CANCELLED, STAGES, TOLD, a
from wmtp.config import Config
from wmtp.errors import WmtpError
from wmtp.orchestration import processes
from wmtp.orchestration.experiments import keep
from wmtp.orchestration.pipeline import expand, find_root, read_graph
from wmtp.orchestration.remote import fetch_run_cache, has_default
from wmtp.orchestration.resume import forget_recorded
from wmtp.orchestration.workspace import claimed
from wmtp.orchestration.workspaces import open_workspace, require_same_flow

if Path("dvc.yaml").is_file():
    with suppress(OSError):
        HOME.mkdir(parents=True, exist_ok=True)

THREADS = 64
"""One per stage that is waited for; how many run at once is the tasks' business."""

LAST_WORDS_SECONDS = 7.0


class _FailureIsAnError(logging.Filter):
    """Prefect reports what a run finished in as a matter of course; a failure's reason is said there, once."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.getMessage().startswith("Finished in state Failed("):
            record.levelno, record.levelname = logging.ERROR, logging.getLevelName(logging.ERROR)
        return True


logging.getLogger("prefect.flow_runs").addFilter(_FailureIsAnError())


def offer(names: Sequence[str]) -> Any:
    """A drop-down in the UI's form. What is allowed is checked by the flow itself, against the files as they are then."""
    return Field(json_schema_extra={"enum": list(names)})


def _run_name() -> str:
    """`demo: baseline, rho1`, what a list of runs is read for."""
    given = runtime.flow_run.parameters
    arms = ", ".join(given.get("arms") or ["all arms"])
    where = f"{given['workspace']}, " if given.get("workspace") else ""
    return f"{where}{given['profile']}: {arms}" + (f", only {given['only']}" if given.get("only") else "")


@flow(
    name="wmtp", flow_run_name=_run_name, task_runner=cast(Any, ThreadPoolTaskRunner(max_workers=THREADS)), persist_result=False
)
def wmtp(
    profile: Annotated[str, offer(profile_names())] = "demo",
    arms: list[Annotated[str, offer(arm_names())]] | None = None,
    seeds: list[int] | None = None,
    overrides: list[str] | None = None,
    force: list[Annotated[str, offer((CHOSEN, *stage_names()))]] | None = None,
    only: Annotated[str, offer(stage_names())] | None = None,
    workspace: str | None = None,
    pull: bool | None = None,
) -> State[Any]:
    """Bring the comparison up to date: every stage that the report needs, or the one stage you choose and what it needs.

    Args:
        profile: Size of the experiment, a file of configs/profiles/.
        arms: Arms to compare, files of configs/arms/. The profile's own when empty.
        seeds: One training run per arm and seed. The profile's own when empty.
        overrides: Any setting as key=value, e.g. evaluate.temperature=0.6 or arms.rho1.weighting.keep_frac=0.7.
        force: Stages to run although they are up to date. "evaluate" stands for every evaluate@run, "only" for the one below.
        only: Stop at this stage instead of the report.
        workspace: Run in .wmtp/workspaces/NAME, which is made where there is none: beside runs with other parameters.
        pull: Results from DVC's default remote. Left out: those that are known here and that the cache lacks; yes: whatever
            the remote knows; no: none.
    """
    end_with_worker()
    begin()
    asked = Asked()
    try:
        root = chosen_root(workspace)
        composed = compose_params(str(root), profile, arms or None, seeds or None, overrides or [], return_state=True)
        if not composed.is_completed():
            return Failed(message=composed.message)
        config = cast(Config, composed.result())
        with claimed(root, config, f"flow run of {', '.join(config.runs)}", waits=_show_waiting, sleep=asked.sleep):
            graph = read_graph(root, [only or TARGET])
            count = a(TOLD, **{STAGES: len(graph)})
            get_run_logger().info("profile %s, %s stages for %s", profile, len(graph), ", ".join(config.runs), extra=count)
            if pull:
                fetch_run_cache(root)
            forced = forced_stages(graph, force or [], only)
            with asked.ends_stages():
                states = _run_stages(graph, root, forced, pull is not False and has_default(root))
            forget_recorded(root)
            summary = _summary(states)
            if summary.is_completed() and (only or TARGET) == TARGET:
                summary.data = keep(root, graph)
                get_run_logger().info("experiment %s", summary.data, extra=a(TOLD))
            return summary
    except CancelledByPersonError:
        return Cancelled(message=CANCELLED)
    except WmtpError as error:
        return Failed(message=str(error))
    finally:
        stop_all()


def chosen_root(workspace: str | None) -> Path:
    """The workspace to run in: this one, or the named one beside it."""
    root = find_root()
    if not workspace:
        return root
    found = open_workspace(root, workspace, partial(get_run_logger().info, extra=a(TOLD)))
    if found != root:
        require_same_flow(root, found)
    return found


def _show_waiting(others: str) -> None:
    if not others:
        show_flow_state(Running())
        return
    message = f"for its turn in this workspace, after {others}"
    get_run_logger().info("waits %s", message, extra=a(TOLD))
    show_flow_state(Running(name="Waiting", message=message))


def end_with_worker() -> None:
    """A worker that was killed stops nobody, so a run that one started (Prefect sets the variable) watches it itself."""
    if "PREFECT__FLOW_RUN_ID" in os.environ and runtime.flow_run.parent_flow_run_id is None:
        processes.on_death([processes.identity(os.getppid())], _end)


def _end() -> None:
    """As when cancelled; but the server may be dead too, and Prefect would try to reach it for a minute."""
    processes.terminate_self()
    time.sleep(LAST_WORDS_SECONDS)
    os._exit(1)


def forced_stages(graph: dict[str, list[str]], force: Sequence[str], only: str | None) -> set[str]:
    """The names of the stages that run in any case."""
    targets = [(only or TARGET) if name == CHOSEN else name for name in force]
    return {name for target in targets for name in expand(target, graph)}


def _run_stages(graph: dict[str, list[str]], root: Path, forced: set[str], pull: bool) -> dict[str, State[Any]]:
    """Submit every stage, each waiting for the ones it needs, and wait for all."""
    futures: dict[str, PrefectFuture[Any]] = {}
    for name, needs in graph.items():
        after: Any = [futures[need] for need in needs]
        named = cast(Any, run_stage).with_options(name=name)  # a task that waits has no other name yet
        futures[name] = named.submit(stage=name, root=str(root), force=name in forced, pull=pull, wait_for=after)
    for future in futures.values():
        future.wait()
    return {name: future.state for name, future in futures.items()}


def _summary(states: dict[str, State[Any]]) -> State[Any]:
    """One state for the run: Failed with the causes, PreemptedError, or Completed with what was done."""
    failed = {name: state for name, state in states.items() if state.is_failed() or state.is_crashed()}
    waiting = [name for name, state in states.items() if name not in failed and not state.is_completed()]
    if failed:
        text = "; ".join(str(state.message) for state in failed.values())
        return Failed(message=text + (f". Not run: {', '.join(waiting)}" if waiting else ""))
    preempted = [str(state.message) for state in states.values() if state.name == PREEMPTED]
    if preempted:
        return Cancelled(name=PREEMPTED, message="; ".join(preempted))
    ran = [name for name, state in states.items() if state.name != "Cached"]
    restored = [name for name, state in states.items() if state.name == "Cached" and state.message != "up to date"]
    fresh = len(states) - len(ran) - len(restored)
    return Completed(message=f"stages: {len(ran)} ran, {len(restored)} restored, {fresh} up to date")
