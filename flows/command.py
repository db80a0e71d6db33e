"""`wmtp run`: the flow in this process, with a temporary Prefect server, and what a person wants to see at its end.

Prefect is imported once everything that can be wrong with the arguments has been checked.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows import HOME
from flows.choices import CHOSEN, TARGET, stage_names
from tasks.telling import CANCELLED
from wmtp.arguments import Parser
from wmtp.cli_flows import PRESETS, run_parser
from wmtp.config import Config, LaunchConfig, compose, load_launch
from wmtp.config.beside import require_problems
from wmtp.config.compose import dump, says, to_plain
from wmtp.config.consistency import require_trainable
from wmtp.config.devices import unused
from wmtp.config.given import require_given
from wmtp.edge import run_command
from wmtp.errors import ConfigError, LaunchError, PreemptedError
from wmtp.orchestration import processes
from wmtp.orchestration.cluster import requeued_if_preempted, require_launcher
from wmtp.orchestration.experiments import keep
from wmtp.orchestration.pipeline import PARAMS, Judgement, expand, find_root, is_up_to_date, judge_all, read_graph
from wmtp.orchestration.remote import require_default
from wmtp.orchestration.workspace import PAGES, change_params, check_params, served
from wmtp.orchestration.workspaces import link_given, served_environment
from wmtp.places import home, workspace_name


@dataclass(frozen=True)
class Manner:
    """How to go about a run: only say what would be done; say all that its stages say."""

    is_dry: bool = False
    is_verbose: bool = False


Parse = Callable[[Sequence[str] | None], tuple[dict[str, Any], Manner]]
Run = Callable[[Path, LaunchConfig, dict[str, Any], Manner, float], int]
NOTHING, RESTORE, RUN, WAIT = "nothing", "restore", "run", "wait"
"""What would become of a stage, where DVC can tell."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, 1 (a stage failed) or 2 (the user's input)."""
    return run_of(_run, parse, argv)


def run_of(run: Run, parse: Parse, argv: Sequence[str] | None) -> int:
    """A command that starts flows: it ends with the process that asked for it, and goes on next time where it was stopped.

    Args:
        run: gets the workspace, how its stages are launched, what `parse` has found, and when it began.
    """
    if processes.OWNER in os.environ:
        processes.end_with([os.environ[processes.OWNER]])
    started = time.monotonic()

    def command() -> int:
        given, root = parse(argv), find_root()
        launch = load_launch(root)  # what is wrong with it is said before anything starts
        require_launcher(launch)
        return run(root, launch, *given, started)

    return run_command(command, interrupted=CANCELLED)


def _run(root: Path, launch: LaunchConfig, parameters: dict[str, Any], manner: Manner, started: float) -> int:
    """
    Raises:
        WmtpError: what can be wrong with the arguments, the workspace and Prefect's address, before anything is started.
    """
    if manner.is_dry:  # nothing to go on with later, and DVC's books are left as they were
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    chosen = {key: parameters.get(key) for key in ("arms", "seeds")}
    config = compose(root, parameters["profile"], overrides=parameters.get("overrides", []), **chosen)
    (examine if manner.is_dry else prepare)(root, launch, config)
    only, force = parameters.get("only") or TARGET, parameters.get("force", [])
    stages = stage_names(root, to_plain(config))
    for name, known in [(only, stages), *((one, [CHOSEN, *stages]) for one in force)]:
        expand(name, known)
    if parameters.get("pull"):
        require_default(root)
    text = dump(config)
    graph = read_graph(root, [only], params=text)
    if config.report.beside and is_up_to_date(root, ["sample"], params=text):
        require_problems(root, config)  # otherwise the report says it, which has them then
    if manner.is_dry:
        return _explain(root, config, graph, {name for one in force for name in expand(only if one == CHOSEN else one, graph)})
    if not force and is_up_to_date(root, graph, params=text):
        change_params(root, config)
        _record(root, only, graph)
        return _show_result(root, only, f"stages: 0 ran, 0 restored, {len(graph)} up to date", started)
    if only == TARGET and (lost := replaced(root, config)):
        print(lost, file=sys.stderr, flush=True)
    enter_prefect(root)
    from flows.wmtp import wmtp as flow

    state = run_flow(root, launch, flow, parameters, manner)
    if not state.is_completed():
        raise LaunchError(str(state.message))
    return _show_result(root, only, str(state.message), started)


def examine(root: Path, launch: LaunchConfig, config: Config) -> None:
    """
    Raises:
        ConfigError, DataError: as `require_given`; what these ranks cannot train; a package that programs are to be offered
            is not installed.
    """
    require_trainable(config, launch.device, launch.nproc_per_node * launch.nnodes)
    require_given(root, config)
    _require_packages(config)


def prepare(root: Path, launch: LaunchConfig, config: Config) -> None:
    """
    Raises:
        ConfigError, DataError: as `examine`; the workspace is in use with other parameters.
    """
    require_trainable(config, launch.device, launch.nproc_per_node * launch.nnodes)
    link_given(root, config)
    check_params(root, config)
    _require_packages(config)


def _require_packages(config: Config) -> None:
    if config.evaluate.sandbox.packages:
        from wmtp.sandbox.packages import find_packages

        try:
            find_packages(config.evaluate.sandbox.packages)
        except ConfigError as error:
            raise ConfigError(f"evaluate.sandbox.packages={config.evaluate.sandbox.packages}: {error}") from None


def enter_prefect(root: Path) -> None:
    """Prefect's server is the one that is served or named, and answers; without any, the flow starts one.

    Raises:
        ConfigError: as `require_prefect`.
    """
    from flows.serve import forget_dead_server

    (root / HOME).mkdir(parents=True, exist_ok=True)
    forget_dead_server(home(root))
    os.environ.update(served_environment(root))
    if not require_prefect():
        print("Prefect's server starts for this run alone: 10 to 30 s (`make serve` keeps one)", file=sys.stderr, flush=True)


def run_flow(root: Path, launch: LaunchConfig, flow: Callable[..., Any], parameters: dict[str, Any], manner: Manner) -> Any:
    """The flow in this process, which signals and the terminal's keys reach, told on standard error; its last state."""
    from flows.narration import narrated
    from tasks.stage import PREEMPTED, go_on, leave, pause

    parameters["workspace"] = workspace_name(root)
    if idle := unused(launch):
        print(f"GPUs of this machine: {idle}, left alone; WMTP_LAUNCH=gpu takes them", file=sys.stderr, flush=True)
    processes.interrupt_on_sigterm()
    signal.signal(signal.SIGUSR1, lambda number, frame: leave())
    processes.pause_with_terminal(pause, go_on, stop_self=False)
    with requeued_if_preempted(), narrated(is_verbose=manner.is_verbose):
        state = flow(**parameters, return_state=True)
        if state.name == PREEMPTED:
            raise PreemptedError(None, said=str(state.message))
        if state.is_cancelled():  # in Prefect's UI, which is as good as Ctrl-C
            raise KeyboardInterrupt
        return state


def replaced(root: Path, config: Config) -> str | None:
    """What the report that lies here says and the next one will not; None where there is none, or nothing is lost."""
    try:
        report = json.loads((root / "artifacts" / "report" / "report.json").read_text(encoding="utf-8"))
        profile, runs = report["profile"], [row["run"] for row in report["runs"]]
    except (OSError, ValueError, KeyError, TypeError):  # none, or no report of ours
        return None
    lost = [name for name in runs if name not in config.runs]
    if profile == config.profile and not lost:
        return None
    without = f" without {', '.join(lost)}" if lost else f" of profile {config.profile}"
    here = f"The report here (profile {profile}, {len(runs)} runs)"
    return f"{here} gives way to one{without}: `wmtp experiments` has what was made before"


def _record(root: Path, only: str, graph: Iterable[str]) -> None:
    """Where nothing had to be done, it may have been done by DVC alone."""
    if only == TARGET:
        print(f"Saved    experiment {keep(root, graph)}")


def require_prefect() -> bool:
    """
    Returns:
        whether there is a server already.
    Raises:
        ConfigError: Prefect's settings (a variable, a profile, prefect.toml) cannot be read, or name a server that does not
            answer, or no server of Prefect's. Without an address the flow starts a server of its own.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    try:
        url = get_current_settings().api.url
    except ValueError as error:  # pydantic's, of several lines
        reason = " ".join(str(error).split())
        raise ConfigError(f"Prefect's settings (environment, prefect.toml, profiles) cannot be read: {reason}") from None
    if url is None:
        return False
    try:
        with get_client(sync_client=True) as client:
            problem = client.api_healthcheck()
            if problem is None:
                client.raise_for_api_version_mismatch()
    except Exception as error:  # whatever answers there, it is no server that this Prefect understands
        problem = error
    if problem is not None:
        reason = str(problem).partition("\n")[0] or type(problem).__name__
        raise ConfigError(
            f"PREFECT_API_URL={url} is not the address of a Prefect server that answers ({reason}): start it, or unset it "
            f"(environment, `prefect config unset PREFECT_API_URL`, prefect.toml) to run with a server of the run's own"
        )
    return True


def parse(argv: Sequence[str] | None) -> tuple[dict[str, Any], Manner]:
    """Arguments as the flow's parameters, over the preset's; and how to go about them."""
    given, manner = read(run_parser(find_root()), argv)
    preset = PRESETS[given.pop("preset")].parameters
    return {**preset, **{key: value for key, value in given.items() if value is not None}}, manner


def read(parser: Parser, argv: Sequence[str] | None) -> tuple[dict[str, Any], Manner]:
    """What was typed, by name; and how to go about it.

    Raises:
        ConfigError: a mistake in it.
    """
    given = vars(parser.parse_intermixed_args(argv))
    if given.pop("workspace") is not None:  # `wmtp` itself takes it, and starts this in that workspace
        raise ConfigError("--workspace must be written out, and be given to `wmtp`")
    return given, Manner(is_dry=given.pop("dry"), is_verbose=given.pop("verbose"))


def _explain(root: Path, config: Config, graph: dict[str, list[str]], forced: set[str]) -> int:
    """Per stage: up to date, restore, run or wait, and why. Nothing is written: DVC is asked as if params.yaml said this."""
    from rich.console import Console
    from rich.table import Column, Table

    if not says(root / PARAMS, config):
        print("params.yaml would be written")
    table = Table("stage", "would", Column("why", overflow="fold"), box=None, pad_edge=False)
    for name, (would, why) in verdicts(root, graph, dump(config), forced).items():
        table.add_row(name, would, why)
    Console(markup=False).print(table)
    return 0


def verdicts(
    root: Path, graph: Mapping[str, list[str]], params: str, forced: Collection[str] = ()
) -> dict[str, tuple[str, str]]:
    """What would become of every stage if params.yaml held this text, and why; nothing is written."""
    judgements = judge_all(root, graph, look_up_cache=True, params=params)
    found: dict[str, tuple[str, str]] = {}
    for name, needs in graph.items():
        behind = {need: found[need][0] for need in needs if found[need][0] != NOTHING}
        found[name] = _verdict(judgements[name], behind, name in forced)
    return found


def _verdict(judgement: Judgement, behind: dict[str, str], forced: bool) -> tuple[str, str]:
    """What would become of one stage, and why. `behind`: the stages it needs whose outputs may change, and how."""
    if judgement.is_busy:
        return WAIT, judgement.reason
    if forced:
        return RUN, "forced"
    if behind and judgement.is_fresh:
        return "nothing, restore or run", f"as they change: {', '.join(behind)}"
    if judgement.is_fresh:
        return NOTHING, "up to date"
    if behind and RUN not in behind.values():
        return "restore or run", judgement.reason
    if judgement.can_restore and not behind:
        return RESTORE, judgement.reason
    if judgement.is_known and not behind:
        return "fetch or run", judgement.reason
    return RUN, judgement.reason


def _show_result(root: Path, only: str, summary: str, started: float) -> int:
    folder = root / "artifacts" / "report"
    if only == TARGET and (folder / "report.json").exists():
        from wmtp.reporting import terminal_table

        print(terminal_table(folder / "report.json"))
        print(f"Report   {folder / 'index.html'}")
    finish(root, summary, started)
    return 0


def finish(root: Path, summary: str, started: float) -> None:
    """The last lines: what was done, and where it can be looked at."""
    print(f"Run      {summary}, {time.monotonic() - started:.0f} s in all")
    pages = served(root)
    before = "" if pages else "make serve, then "
    pages = pages or PAGES
    print(f"Pages    {before}{pages['prefect']} (Prefect) and {pages['mlflow']} (MLflow)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
