"""A sweep: the flow `wmtp` for each of its points, one after the other, and one comparison of them all.

Stages that points share are computed by the first and restored for the others. A point that fails does not keep the others from
being made; one that is there already is not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed

from flows.choices import arm_names, profile_names
from flows.wmtp import chosen_root, end_with_worker, offer, wmtp
from tasks.publish import publish_comparison
from tasks.stage import PREEMPTED
from tasks.telling import TOLD, a
from wmtp.errors import WmtpError
from wmtp.experiments import side_by_side
from wmtp.orchestration.experiments import Experiment, find
from wmtp.sweeps import Point, compose_points, distinct, find_done


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
            _stop_if_suspended()
            tell(number, len(points), point.name, state.message)
            if state.name == PREEMPTED:
                return Cancelled(name=PREEMPTED, message=f"{point.name}: {state.message}")
            if state.is_completed():
                found[point.name] = find(root, state.result())
            else:
                failed[point.name] = str(state.message)
        return _conclude(root, points, found, failed)
    except WmtpError as error:
        return Failed(message=str(error))


def _run(point: Point, **given: Any) -> State[Any]:
    where = f"{given['workspace']}, " if given["workspace"] else ""
    named = wmtp.with_options(flow_run_name=partial(str, f"{where}{given['profile']}: {point.name}"))
    state: State[Any] = named(**given, overrides=list(point.overrides), return_state=True)
    return state


def _stop_if_suspended() -> None:
    """The point's stages have ended then; resumed, the sweep goes on with this point."""
    context = FlowRunContext.get()
    assert context is not None
    context.flow_run_suspension_request.raise_if_requested()


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
