"""`wmtp run`: the flow in this process, with a temporary Prefect server, and what a person wants to see at its end.

Prefect is imported once everything that can be wrong with the arguments has been checked.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.choices import stage_names
from flows.presets import PRESETS
from flows.serve import forget_dead_server
from wmtp.arguments import Parser, wholes
from wmtp.config import Config, compose
from wmtp.config.compose import to_plain
from wmtp.errors import WmtpError
from wmtp.orchestration import processes
from wmtp.orchestration.launch import OWNER
from wmtp.orchestration.pipeline import expand, find_root, judge, read_graph
from wmtp.orchestration.workspace import change_params, check_params


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, 1 (a stage failed) or 2 (the user's input)."""
    if OWNER in os.environ:
        processes.end_with([os.environ[OWNER]])
    started = time.monotonic()
    try:
        parameters, dry = parse(argv)
        root = find_root()
        chosen = {key: parameters.get(key) for key in ("arms", "seeds")}
        config = compose(root, parameters["profile"], overrides=parameters.get("overrides", []), **chosen)
        check_params(root, config)
        for name in [*parameters.get("force", []), *filter(None, [parameters.get("only")])]:
            expand(name, ["only", *stage_names(root, to_plain(config))])
        if dry:
            return _explain(root, config, parameters)
    except WmtpError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    forget_dead_server(root)
    from flows.wmtp import wmtp as flow

    processes.interrupt_on_sigterm()
    try:
        state: Any = flow(**parameters, return_state=True)
    except KeyboardInterrupt:
        print("error: cancelled; the next run goes on where this one stopped", file=sys.stderr, flush=True)
        return 1
    if not state.is_completed():
        print(f"error: {state.message}", file=sys.stderr, flush=True)
        return 1
    _show_result(root, parameters, f"{state.message}, {time.monotonic() - started:.0f} s in all")
    return 0


def parse(argv: Sequence[str] | None) -> tuple[dict[str, Any], bool]:
    """Arguments as the flow's parameters, over the preset's; and whether it is a dry run."""
    parser = Parser(prog="wmtp run", description="Run the flow, no server needed.")
    parser.add_argument("preset", choices=PRESETS, help="a deployment of prefect.yaml")
    parser.add_argument("--profile", default="demo", help="size of the experiment (default: demo)")
    parser.add_argument("--arms", type=_names, help="comma-separated, instead of the preset's")
    parser.add_argument("--seeds", type=_numbers, help="comma-separated")
    parser.add_argument("--force", type=_names, action="extend", help="stages to run although they are up to date")
    parser.add_argument("--only", help="stop at this stage instead of the report")
    parser.add_argument("--dry", action="store_true", help="only say what would be done, and why")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    given = vars(parser.parse_intermixed_args(argv))
    preset, dry = PRESETS[given.pop("preset")], given.pop("dry")
    return {**preset, **{key: value for key, value in given.items() if value is not None}}, dry


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    return list(wholes(0)(text))


def _explain(root: Path, config: Config, parameters: dict[str, Any]) -> int:
    """Per stage: up to date, restore or run, and why. DVC judges by params.yaml, so that is written."""
    from rich.console import Console
    from rich.table import Table

    if change_params(root, config):
        print("params.yaml written")
    only = parameters.get("only") or "report"
    graph = read_graph(root, [only])
    forced = {name for one in parameters.get("force", []) for name in expand(only if one == "only" else one, graph)}
    table = Table("stage", "would", "why", box=None, pad_edge=False)
    moving: dict[str, str] = {}
    for name, needs in graph.items():
        would, why = _verdict(root, name, {need: moving[need] for need in needs if need in moving}, name in forced)
        if would != "nothing":
            moving[name] = would
        table.add_row(name, would, why)
    Console().print(table)
    return 0


def _verdict(root: Path, name: str, behind: dict[str, str], forced: bool) -> tuple[str, str]:
    """What would become of one stage, and why. `behind`: the stages it needs whose outputs may change, and how."""
    judgement = judge(root, name, look_up_cache=True)
    if forced:
        return "run", "forced"
    if behind and judgement.is_fresh:
        return "nothing, restore or run", f"as they change: {', '.join(behind)}"
    if judgement.is_fresh:
        return "nothing", "up to date"
    if behind and "run" not in behind.values():
        return "restore or run", judgement.reason
    if judgement.can_restore and not behind:
        return "restore", judgement.reason
    return "run", judgement.reason


def _show_result(root: Path, parameters: dict[str, Any], summary: str) -> None:
    folder = root / "artifacts" / "report"
    if parameters.get("only") in (None, "report") and (folder / "report.json").exists():
        from wmtp.reporting import terminal_table

        print(terminal_table(folder / "report.json"))
        print(f"Report   {folder / 'index.html'}")
    print(f"Run      {summary}")
    print("Pages    make serve, then http://127.0.0.1:4200 (Prefect) and http://127.0.0.1:5000 (MLflow)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
