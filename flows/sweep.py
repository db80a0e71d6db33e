"""A sweep: the flow `wmtp` for each of its points, one after the other, and one comparison of them all.

Stages that points share are computed by the first and restored for the others. A point that fails does not keep the others from
being made; one that is there already is not run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from prefect import Task, flow, get_run_logger, runtime
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.states import Cancelled, Completed, Failed

from flows.asked import Asked, CancelledByPersonError
from flows.choices import arm_names, profile_names
from flows.wmtp import chosen_root, end_with_worker, offer, wmtp
from tasks.publish import publish_comparison
from tasks.stage import PREEMPTED, best_effort
from tasks.telling import CANCELLED, TOLD, a
from wmtp.errors import WmtpError
from wmtp.experiments import side_by_side
from wmtp.orchestration.experiments import Experiment, find
from wmtp.sweeps import Point, compose_points, distinct, find_done

SUSPENDED = "suspended with its sweep; when that is resumed, another flow run goes on where this one stopped"


def _run_name() -> str:
    """`demo: sweep of train_policy.optim.lr=1e-3,2e-3`."""
    given = runtime.flow_run.parameters
    where = f"{given['workspace']}, " if given.get("workspace") else ""
    return f"{where}{given['profile']}: sweep of {' '.join(given['overrides'])}"


@flow(name="wmtp", flow_run_name=_run_name, persist_result=False)
def sweep(
    profile: Annotated[str, offer(profile_names())] = "demo",
    arms: list[Annotated[str, offer(arm_names())]] | None = None,
    seeds: list[int] | None = None,
    overrides: Sequence[str] = (),
    workspace: str | None = None,
    pull: bool | None = None,
) -> State[Any]:
    """One experiment for each combination of values, and a report that compares them. What is there is not computed again.

    Args:
        profile: Size of the experiments, a file of configs/profiles/.
        arms: Arms to compare, files of configs/arms/. The profile's own when empty.
        seeds: One training run per arm and seed. The profile's own when empty.
        overrides: Settings as key=value,value,..., e.g. train_policy.train.steps=150,300,600. A grid over several of them.
        workspace: Run in .wmtp/workspaces/NAME, which is made where there is none: beside runs with other parameters.
        pull: Results from DVC's default remote, as in the other deployments.
    """
    end_with_worker()
    asked = Asked()
    try:
        root = chosen_root(workspace)
        points = compose_points(root, profile, overrides, arms=arms or None, seeds=seeds or None)
        found: dict[str, Experiment] = {}
        failed: dict[str, str] = {}
        tell = partial(get_run_logger().info, "%s of %s, %s: %s", extra=a(TOLD))
        for number, point in enumerate(points, start=1):
            (done,) = find_done(root, [point])
            if done is not None:
                tell(number, len(points), point.name, f"is there, experiment {done.name}")
                found[point.name] = done
                continue
            tell(number, len(points), point.name, "begins")
            state = _run(point, profile=profile, arms=arms, seeds=seeds, workspace=workspace, pull=pull)
            asked.obey()
            tell(number, len(points), point.name, state.message)
            if state.name == PREEMPTED:
                return Cancelled(name=PREEMPTED, message=f"{point.name}: {state.message}")
            if state.is_completed():
                found[point.name] = find(root, state.result())
            else:
                failed[point.name] = str(state.message)
        return _conclude(root, points, found, failed)
    except CancelledByPersonError:
        return Cancelled(message=CANCELLED)
    except WmtpError as error:
        return Failed(message=str(error))


def _run(point: Point, **given: Any) -> State[Any]:
    where = f"{given['workspace']}, " if given["workspace"] else ""
    named = wmtp.with_options(flow_run_name=partial(str, f"{where}{given['profile']}: {point.name}"))
    with _own_flow_run():
        state: State[Any] = named(**given, overrides=list(point.overrides), return_state=True)
    return state


@contextmanager
def _own_flow_run() -> Iterator[None]:
    """What begins in this block is a flow run of its own.

    Prefect tells subflows apart by their order, and a sweep that is resumed would go on in another point's. One that is at work
    when the sweep is suspended ends then: Prefect would show it as running.
    """
    context = FlowRunContext.get()
    assert context is not None
    order = {Task(wmtp.fn, name=wmtp.name).task_key: time.time_ns()}
    try:
        with context.model_copy(update={"task_run_dynamic_keys": order}):
            yield
    except Pause:
        _end_points(UUID(str(runtime.flow_run.id)))
        raise


def _end_points(sweep: UUID) -> None:
    alive = [one for one in StateType if one not in TERMINAL_STATES]
    with best_effort() as client:
        points = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[sweep]),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=alive)),
            )
        )
        for point in points:
            client.set_flow_run_state(point.id, Cancelled(message=SUSPENDED), force=True)


def _conclude(root: Path, points: Sequence[Point], found: dict[str, Experiment], failed: dict[str, str]) -> State[Any]:
    """The comparison of what is there; Failed where a point is not."""
    every = distinct(found.values())
    if len(every) > 1:
        comparison, page = side_by_side(root, every, swept=points[0].chosen)
        publish_comparison(root, comparison, page)
        get_run_logger().info("comparison of %s experiments: %s", len(every), page, extra=a(TOLD))
    if failed:
        causes = "; ".join(f"{name}: {cause}" for name, cause in failed.items())
        return Failed(message=f"{len(failed)} of {len(points)} points failed: {causes}")
    return Completed(message=f"{len(points)} points, {len(every)} experiments")
