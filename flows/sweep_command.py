"""`wmtp sweep`: the flow of a sweep in this process, with a temporary Prefect server, and the comparison at its end.

As in `command`, Prefect is imported once everything has been checked, and only where something is to be made.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.command import (
    NOTHING,
    RESTORE,
    RUN,
    Manner,
    enter_prefect,
    examine,
    finish,
    prepare,
    read,
    run_flow,
    run_of,
    verdicts,
)
from wmtp.cli_flows import sweep_parser
from wmtp.config import LaunchConfig
from wmtp.config.compose import dump
from wmtp.errors import LaunchError
from wmtp.experiments import side_by_side, tell
from wmtp.orchestration.experiments import Experiment
from wmtp.orchestration.pipeline import find_root
from wmtp.orchestration.remote import require_default
from wmtp.sweeps import Point, compose_points, distinct, find_done, read_recipe


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, 1 (a point failed) or 2 (the user's input)."""
    return run_of(_run, parse, argv)


def parse(argv: Sequence[str] | None) -> tuple[dict[str, Any], Manner]:
    """Arguments as the flow's parameters; and how to go about them."""
    return read(sweep_parser(find_root()), argv)


def _run(root: Path, launch: LaunchConfig, parameters: dict[str, Any], manner: Manner, started: float) -> int:
    """
    Raises:
        WmtpError: what can be wrong with any point, the workspace and Prefect's address, before anything is started; and
            afterwards the points that failed.
    """
    chosen = {key: parameters[key] for key in ("arms", "seeds")}
    points = compose_points(root, parameters["profile"], parameters["overrides"], **chosen)
    for point in points:
        (examine if manner.is_dry else prepare)(root, launch, point.config)
    if parameters["pull"]:
        require_default(root)
    found = find_done(root, points)
    if manner.is_dry:
        return _explain(root, points, found)
    if None not in found:
        _compare(root, points, found)
        finish(root, f"{len(points)} points were there, none was run", started)
        return 0
    enter_prefect(root)
    from flows.sweep import sweep as flow

    state = run_flow(root, launch, flow, parameters, manner)
    _compare(root, points, find_done(root, points))
    if not state.is_completed():
        raise LaunchError(str(state.message))
    finish(root, str(state.message), started)
    return 0


def _compare(root: Path, points: Sequence[Point], found: Sequence[Experiment | None]) -> None:
    """Of those that are there."""
    every = distinct(found)
    if len(every) > 1:
        tell(*side_by_side(root, every, swept=points[0].chosen))


def _explain(root: Path, points: Sequence[Point], found: Sequence[Experiment | None]) -> int:
    """Per point the experiment that it is, or what would be computed for it. Nothing is written.

    What an earlier point computes is restored for a later one that is made from the same.
    """
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("point", overflow="fold"), Column("would", overflow="fold"), box=None, pad_edge=False)
    computed: set[str] = set()
    for point, experiment in zip(points, found, strict=True):
        if experiment is not None:
            table.add_row(point.name, f"nothing: it is {experiment.name}")
            continue
        recipe = read_recipe(root, point)
        would = {name: what for name, (what, _) in verdicts(root, recipe.graph, dump(point.config)).items()}
        missing = {name: what for name, what in would.items() if what not in (NOTHING, RESTORE)}
        own = {name: what for name, what in missing.items() if recipe.hashes[name] not in computed}
        computed |= {recipe.hashes[name] for name in own}
        sure = [name for name, what in own.items() if what == RUN]
        words = [f"run {', '.join(sure)}"] if sure else []
        if len(sure) < len(own):
            words.append(f"run or restore {', '.join(name for name in own if name not in sure)}")
        if len(own) < len(would):
            words.append(f"the rest ({len(would) - len(own)}) is there, or computed for a point above")
        table.add_row(point.name, "; ".join(words))
    Console(markup=False).print(table, highlight=False)
    print(f"{len(points)} points, {sum(one is not None for one in found)} of them there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
