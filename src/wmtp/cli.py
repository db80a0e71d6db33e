"""The command line. Exit codes: 0 done, 1 failed, 2 the user's input. Heavy imports happen inside the commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from wmtp import __version__, cli_completion, cli_evaluation, cli_flows, cli_models
from wmtp.arguments import Parser, add_experiment, nonempty, of_arguments, positive, whole
from wmtp.edge import run_command
from wmtp.errors import ConfigError
from wmtp.headlines import headlines
from wmtp.orchestration.pipeline import find_root

FLOWS = (
    ("run", "flows.command", "run a flow without a server", cli_flows.run_parser),
    (
        "sweep",
        "flows.sweep_command",
        "an experiment for each combination of values, and their comparison",
        cli_flows.sweep_parser,
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(lambda: _main(argv), interrupted="interrupted")


def _main(argv: Sequence[str] | None) -> int:
    if argv is None:
        _run_the_workspaces_code()
        for name in ("TRANSFORMERS_VERBOSITY", "HF_HUB_VERBOSITY"):
            os.environ.setdefault(name, "error")  # what is wrong with a model is said here, in one line
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if "module" in arguments:
        arguments.rest = rest
    elif rest and hasattr(arguments, "overrides") and not any(word.startswith("-") for word in rest):
        arguments.overrides += rest  # on both sides of an option, as `wmtp run` takes them
    elif rest:
        parser.unrecognized(rest)
    code: int = arguments.run(arguments)
    return code


def _run_the_workspaces_code() -> None:
    """Go on as the program of the workspace that we stand in, where it is not the installed one's."""
    from wmtp.orchestration.own_code import restart_if_foreign

    root = _root_or_none()
    if root is not None:  # otherwise the installed code it is
        restart_if_foreign(root)


def _root_or_none() -> Path | None:
    """The workspace, where we stand in one."""
    try:
        return find_root()
    except ConfigError:
        return None


def _parser(*, is_whole: bool = False) -> Parser:
    """`is_whole`: with what is read elsewhere, too."""
    parser = Parser(prog="wmtp", description="Weighted multi-token prediction experiments.")
    parser.add_argument("--version", action="version", version=f"wmtp {__version__}")
    parser.passes_on = True
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    stage = commands.add_parser("stage", help="run one stage now, as params.yaml says")
    stage.add_argument("stage_name", metavar="STAGE", help="as in dvc.yaml, e.g. train_policy@rho1-s0")
    stage.set_defaults(run=_stage)

    for name, module, what, own in FLOWS:  # each has a parser of its own, in the process that it runs in
        parents = [own(None)] if is_whole else []
        flow = commands.add_parser(name, help=what, add_help=False, parents=parents)
        flow.passes_on = True
        flow.set_defaults(run=_run, module=module)

    params = commands.add_parser("params", help="compose params.yaml from configs/")
    params.add_argument("--print", action="store_true", dest="only_print", help="print it instead of writing it")
    add_experiment(params, "key=value")
    params.set_defaults(run=_params)

    data = commands.add_parser("data", help="the data card of artifacts/data, or some of its rows with their history")
    data.add_argument("--table", default="train")
    data.add_argument("--examples", type=whole(0), help="only the first rows of the table")
    data.add_argument("--row", type=whole(0), help="only this row of the table")
    data.add_argument("--problem", type=nonempty, help="only the rows of the problem of this id, in all tables")
    data.set_defaults(run=_data)

    report = commands.add_parser("report", help="print the newest report's table and path")
    report.set_defaults(run=_report)

    _add_experiments(commands)
    cli_evaluation.add_commands(commands)
    cli_models.add_commands(commands)
    _add_lists(commands)

    doctor = commands.add_parser("doctor", help="what is missing on this machine, and how to mend it")
    doctor.add_argument("--cache", action="store_true", help="read all that DVC holds, and remove what is damaged")
    doctor.add_argument("--profile", type=nonempty, help="what this experiment will take, before anything starts")
    for name in ("arms", "seeds"):
        doctor.add_argument(f"--{name}", type=f"{name}=[{{}}]".format, help="comma-separated, instead of the profile's")
    doctor.add_argument("--gpu", type=nonempty, help="on such devices, e.g. h100 (default: the launch configuration's)")
    doctor.add_argument("--gpus", type=whole(1), help="how many of them a stage takes")
    doctor.add_argument("--utilisation", type=positive(1), help="share of their peak that training reaches")
    doctor.add_argument("--price", type=positive(), help="of a device-hour: costs instead of device-hours")
    doctor.add_argument("overrides", nargs="*", metavar="key=value", help="of the profile's")
    doctor.set_defaults(run=_doctor)

    completion = commands.add_parser("completion", help='a script for the shell, e.g. eval "$(wmtp completion bash)"')
    completion.add_argument("shell", choices=cli_completion.SHELLS)
    completion.set_defaults(run=_completion)
    return parser


def _completion(arguments: argparse.Namespace) -> int:
    known = cli_completion.known_names(_root_or_none())
    print(cli_completion.script(_parser(is_whole=True), arguments.shell, known, [cli_models.path]))
    return 0


def _add_experiments(commands: Any) -> None:
    kept = commands.add_parser("experiments", help="what has been run: list, compare A B..., restore A")
    kept.add_argument("--json", action="store_true", help="the list as JSON")
    kept.set_defaults(run=_experiments, action="list")
    actions = kept.add_subparsers(dest="action", metavar="ACTION")
    listed = actions.add_parser("list", help="what has been run, as without an action")
    listed.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as JSON")
    compare = actions.add_parser("compare", help="one report over several")
    compare.add_argument("names", nargs="+", metavar="NAME")
    compare.add_argument("--out", type=cli_models.path, help="the report's folder (default: one in .wmtp/comparisons)")
    restore = actions.add_parser("restore", help="bring one back: code, params.yaml and outputs")
    restore.add_argument("name", metavar="NAME")
    restore.add_argument("--workspace", help="into .wmtp/workspaces/NAME instead of here")


def _experiments(arguments: argparse.Namespace) -> int:
    from wmtp import experiments

    root = find_root()
    if arguments.action == "compare":
        experiments.compare(root, arguments.names, arguments.out)
    elif arguments.action == "restore":
        experiments.restore(root, arguments.name, arguments.workspace)
    else:
        experiments.show(root, as_json=arguments.json)
    return 0


def _add_lists(commands: Any) -> None:
    """What there is to choose from, one line each."""
    for name, lines, what in (
        ("arms", lambda: headlines(find_root(), "arms"), "the arms: how tokens can be weighted"),
        ("profiles", lambda: headlines(find_root(), "profiles"), "the sizes of an experiment"),
        ("tasks", _tasks, "the datasets and benchmarks"),
    ):
        commands.add_parser(name, help=what).set_defaults(run=_show, lines=lines)


def _show(arguments: argparse.Namespace) -> int:
    lines: dict[str, str] = arguments.lines()
    width = max(len(name) for name in lines)
    for name, text in lines.items():
        print(f"{name:<{width}}  {text}".rstrip())
    return 0


def _tasks() -> dict[str, str]:
    """Every task set's own description."""
    from wmtp import tasksets

    return {name: tasksets.get(name).description for name in tasksets.names()}


def _stage(arguments: argparse.Namespace) -> int:
    from wmtp.orchestration import processes
    from wmtp.orchestration.cluster import requeued_if_preempted
    from wmtp.orchestration.launch import run_stage

    with nullcontext() if processes.OWNER in os.environ or "DVC_STAGE" in os.environ else requeued_if_preempted():
        run_stage(arguments.stage_name, find_root())
    if "DVC_STAGE" not in os.environ:
        print(
            f"run by hand, so dvc.lock does not know of it: `dvc commit -f {arguments.stage_name}` records the new outputs, "
            f"`dvc checkout` brings the recorded ones back"
        )
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from wmtp.orchestration.foreground import run_module

    root, which = find_root(), Parser(prog="wmtp", add_help=False, allow_abbrev=False)
    which.passes_on = True
    which.add_argument("--workspace")
    chosen, rest = which.parse_known_args(arguments.rest)
    if chosen.workspace is not None:
        from wmtp.orchestration.workspaces import open_workspace, plan_workspace

        root = (plan_workspace if "--dry" in rest else open_workspace)(root, chosen.workspace, print)
    return run_module(root, arguments.module, rest)


def _params(arguments: argparse.Namespace) -> int:
    from wmtp.config import compose
    from wmtp.config.compose import dump
    from wmtp.orchestration import books
    from wmtp.orchestration.workspace import change_params

    root = find_root()
    config = compose(root, arguments.profile, arms=arguments.arms, seeds=arguments.seeds, overrides=arguments.overrides)
    if arguments.only_print:
        print(dump(config), end="")
        return 0
    changed = change_params(root, config)
    books.put_in_order(root)
    print(f"params.yaml {'written' if changed else 'is already that'}: profile {config.profile}, runs {', '.join(config.runs)}")
    return 0


def _data(arguments: argparse.Namespace) -> int:
    from wmtp.examples.look import Look, look

    folder = find_root() / "artifacts" / "data"
    if not folder.is_dir():
        raise ConfigError("artifacts/data does not exist: run `wmtp stage sample`")
    print(look(folder, of_arguments(Look, arguments), colours=sys.stdout.isatty()))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from wmtp.orchestration.pipeline import judge_all, read_graph

    root = find_root()
    folder = root / "artifacts" / "report"
    if not (folder / "report.json").exists():
        raise ConfigError("there is no report yet: run `wmtp run compare`")
    from wmtp.reporting import terminal_table

    print(terminal_table(folder / "report.json"))
    print(f"report: {folder / 'index.html'}")
    stale = [name for name, judgement in judge_all(root, read_graph(root, ["report"])).items() if not judgement.is_fresh]
    if stale:
        others = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
        print(f"It is not of what is here now: {stale[0]}{others} would change (`wmtp run compare --dry` says why).")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from wmtp.doctor.machine import examine, examine_cache

    options = ("arms", "seeds", "gpu", "gpus", "utilisation", "price")
    others = [f"--{name}" for name in options if getattr(arguments, name) is not None] + arguments.overrides
    arguments.overrides += filter(None, (arguments.arms, arguments.seeds))
    if arguments.profile is None and others:
        raise ConfigError(f"{others[0]} is about an experiment: name its profile too, --profile NAME")
    if arguments.profile is not None and arguments.cache:
        raise ConfigError("--cache and --profile are two questions: ask one after the other")
    if arguments.profile is not None:
        from wmtp.doctor.profile import estimate, find_devices

        root = find_root()
        devices = find_devices(root, arguments.gpu, arguments.gpus, arguments.utilisation)
        lines = estimate(root, arguments.profile, arguments.overrides, devices, arguments.price)
    else:
        lines = [*(examine_cache(find_root()) if arguments.cache else examine(Path.cwd()))]
    for line in lines:
        print(line if isinstance(line, str) else f"{'ok  ' if line.is_fine else 'MEND'} {line.what}: {line.detail}")
    return 0 if all(isinstance(line, str) or line.is_fine for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
