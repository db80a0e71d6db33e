"""The flow: DVC's graph as Prefect tasks.

`python -m flows.wmtp full-rho1` runs it with nothing set up; deployments are in prefect.yaml.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal


def _prepare_environment() -> None:
    """Prefect's home in the workspace, no analytics, and time for a first start. Before Prefect is imported."""
    defaults = {
        "PREFECT_HOME": str(Path.cwd() / ".wmtp" / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    for key, value in defaults.items():
        os.environ.setdefault(key, value)


_prepare_environment()

from prefect import flow, get_run_logger  # noqa: E402
from prefect.futures import PrefectFuture  # noqa: E402
from prefect.states import Failed, State  # noqa: E402
from prefect.task_runners import ThreadPoolTaskRunner  # noqa: E402
from pydantic import Field  # noqa: E402

from tasks.params import resolve, workspace  # noqa: E402
from tasks.publish import publish_report  # noqa: E402
from tasks.stage import Graph, is_changed, kill_running, read_graph, run_stage, status  # noqa: E402
from wmtp.config import Config, load_launch  # noqa: E402
from wmtp.config.compose import nearest  # noqa: E402
from wmtp.errors import ConfigError, WmtpError  # noqa: E402
from wmtp.launch import find_root  # noqa: E402
from wmtp.tracking import default_uri  # noqa: E402

PRESETS: dict[str, list[str] | None] = {
    "full-baseline": ["baseline"],
    "full-rho1": ["baseline", "rho1"],
    "full-verifiable": ["baseline", "verifiable"],
    "compare": None,
    "stage": None,
}
"""Deployments and the arms that they compare; None means the profile's own."""

MAX_PARALLEL = 4
Profile = Literal["demo", "mbpp", "toy"]
Arm = Literal["ntp", "baseline", "filtered", "rho1", "verifiable", "random", "shuffled", "rho1_soft", "entropy", "hybrid"]


@flow(name="wmtp", task_runner=ThreadPoolTaskRunner(max_workers=MAX_PARALLEL), validate_parameters=True, log_prints=True)
def wmtp(
    profile: Annotated[Profile, Field(description="Data, model sizes and steps: a file of configs/profiles/")] = "demo",
    arms: Annotated[list[Arm] | None, Field(description="What to compare; empty: the profile's arms")] = None,
    seeds: Annotated[list[int] | None, Field(description="One policy per arm and seed; empty: the profile's seeds")] = None,
    overrides: Annotated[list[str] | None, Field(description="key=value, e.g. evaluate.temperature=0.6")] = None,
    force: Annotated[list[str] | None, Field(description="Stages to run again although they are up to date")] = None,
    only: Annotated[str | None, Field(description="Run this stage alone, e.g. evaluate@rho1-s0")] = None,
) -> State[Any]:
    """Bring the report, and everything that it needs, up to date."""
    root = find_root()
    try:
        config = resolve(root, profile, arms, seeds, overrides or [])
        with workspace(root, config):
            graph = read_graph(root)
            names = _selection(graph, only, force or [])
            return _run(root, graph, names, config, force or [])
    except WmtpError as error:
        return Failed(message=str(error))


def _selection(graph: Graph, only: str | None, force: Sequence[str]) -> list[str]:
    """The stages to submit, in dependency order: `only`, or the report's ancestors."""
    for name in [*force, *([only] if only else [])]:
        if name not in graph.order:
            raise ConfigError(f"unknown stage {name!r}{nearest(name, graph.order)}")
    wanted = {only or "report"}
    if only is None:
        for name in reversed(graph.order):
            if name in wanted:
                wanted.update(graph.upstream[name])
    return [name for name in graph.order if name in wanted]


def _run(root: Path, graph: Graph, names: list[str], config: Config, force: Sequence[str]) -> State[Any]:
    logger = get_run_logger()
    if len(names) == 1:
        stale = [s for s in graph.upstream[names[0]] if is_changed(root, s)]
        if stale:
            raise ConfigError(f"{names[0]} needs {', '.join(stale)} first: run without `only`")
    futures: dict[str, PrefectFuture[Any]] = {}
    for name in names:
        waits = [futures[s] for s in graph.upstream[name] if s in futures]
        futures[name] = run_stage.submit(name, str(root), force=name in force, wait_for=waits)
    try:
        states = {}
        for name, future in futures.items():
            future.wait()
            states[name] = future.state
    except BaseException:
        kill_running()
        raise
    failed = [f"{name}: {state.message}" for name, state in states.items() if state.is_failed() or state.is_crashed()]
    if failed:
        return Failed(message="; ".join(failed))
    if "report" in names:
        publish_report(root, load_launch(root).tracking_uri or default_uri(root))
    logger.info("every stage is up to date")
    return _completed(states)


def _completed(states: dict[str, State[Any]]) -> State[Any]:
    from prefect.states import Completed

    cached = sum(state.name == "Cached" for state in states.values())
    return Completed(message=f"{len(states)} stages: {cached} cached, {len(states) - cached} ran")


# --------------------------------------------------------------------------------------- without a server


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    arms = arguments.arms or PRESETS[arguments.preset]
    try:
        root = find_root()
        config = resolve(root, arguments.profile, arms, arguments.seeds, arguments.overrides)
        if arguments.preset == "stage" and arguments.only is None:
            raise ConfigError("preset `stage` needs --only STAGE")
        if arguments.dry:
            return _dry(root, config)
        with workspace(root, config):
            _selection(read_graph(root), arguments.only, arguments.force)
    except WmtpError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    try:
        state = wmtp(
            profile=arguments.profile,
            arms=arms,
            seeds=arguments.seeds,
            overrides=arguments.overrides,
            force=arguments.force,
            only=arguments.only,
            return_state=True,
        )
    except KeyboardInterrupt:
        print("error: interrupted; the next run continues where this one stopped", file=sys.stderr)
        return 1
    finally:
        kill_running()
    if not state.is_completed():
        print(f"error: {state.message}", file=sys.stderr)
        return 1
    _farewell(root, f"{state.message}, {time.monotonic() - started:.0f} s")
    return 0


def _interrupt(number: int, frame: Any) -> None:
    kill_running()
    raise KeyboardInterrupt


def _dry(root: Path, config: Config) -> int:
    """What a run would do, and why. params.yaml is put back as it was."""
    path = root / "params.yaml"
    before = path.read_bytes() if path.exists() else None
    try:
        with workspace(root, config):
            changes, graph = status(root), read_graph(root)
            names = _selection(graph, None, [])
    finally:
        if before is not None:
            path.write_bytes(before)
    stale: set[str] = set()
    for name in names:
        waits = sorted(stale & set(graph.upstream[name]))
        if name in changes or waits:
            stale.add(name)
            print(f"run         {name:<32} {_why(changes.get(name, []), waits)}")
        else:
            print(f"up to date  {name}")
    return 0


def _why(changes: list[Any], waits: list[str]) -> str:
    reasons = [f"after {', '.join(waits)}"] if waits else []
    for change in changes:
        if isinstance(change, str):
            reasons.append(change)
            continue
        for kind, items in change.items():
            flat = {k: v for k, v in items.items()}
            reasons += [f"{kind}: {name} {_short(what)}" for name, what in flat.items()]
    return "; ".join(reasons)


def _short(what: Any) -> str:
    return ", ".join(what) if isinstance(what, dict) else str(what)


def _farewell(root: Path, summary: str) -> None:
    from wmtp.reporting import terminal_table

    report = root / "artifacts" / "report"
    print()
    if (report / "report.json").exists():
        print(terminal_table(report / "report.json"))
        print(f"\nReport   {report / 'index.html'}")
    print(f"Run      {summary}")
    print("Prefect  make serve, then http://127.0.0.1:4200")
    print("MLflow   mlflow ui --backend-store-uri sqlite:///.wmtp/mlflow.db, then http://127.0.0.1:5000")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wmtp run", description="Run the DAG without a server.")
    parser.add_argument("preset", choices=list(PRESETS))
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--arms", type=lambda text: text.split(","), help="comma-separated")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], help="comma-separated")
    parser.add_argument("--force", action="append", default=[], metavar="STAGE")
    parser.add_argument("--only", metavar="STAGE")
    parser.add_argument("--dry", action="store_true", help="say what would run, and why")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    return parser


if __name__ == "__main__":
    sys.exit(main())
