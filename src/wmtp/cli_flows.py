"""What can be typed after `wmtp run` and `wmtp sweep`. Flows run in a process of their own, which reads it by these parsers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wmtp.arguments import Parser, add_experiment, nonempty, several
from wmtp.headlines import headlines

PULL = "results from DVC's default remote: whatever it knows, or none (default: what is known here and the cache lacks)"


@dataclass(frozen=True)
class Preset:
    """What `wmtp run NAME` runs. The deployment of that name in prefect.yaml says the same (a test compares)."""

    what: str
    parameters: dict[str, Any] = field(default_factory=dict)


PRESETS = {
    "full-baseline": Preset("The baseline arm: data, training, evaluation, report.", {"arms": ["baseline"]}),
    "full-rho1": Preset(
        "Rho-1 selection against the baseline: with the reference model and its scores.", {"arms": ["baseline", "rho1"]}
    ),
    "full-verifiable": Preset(
        "The critic's TD weights against the baseline: with the reference, the critic and its values.",
        {"arms": ["baseline", "verifiable"]},
    ),
    "compare": Preset("All arms and seeds of the profile, and their report."),
    "stage": Preset("Rerun one stage: choose it in `only`.", {"only": "report", "force": ["only"]}),
}


def run_parser(root: Path | None) -> Parser:
    """Of `wmtp run`. `root`: the workspace, whose profiles are named in the help."""
    parser = Parser(
        prog="wmtp run",
        description="Bring a comparison up to date: every stage that its report needs and that is stale. No server needed.",
        epilog=_explained({"presets": {name: preset.what for name, preset in PRESETS.items()}, **_profiles(root)}),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("preset", choices=tuple(PRESETS), metavar="PRESET", help="what to run, see below")
    add_experiment(parser, "key=value")
    parser.add_argument("--force", type=several, action="extend", metavar="STAGES", help="to run although they are up to date")
    parser.add_argument("--only", metavar="STAGE", help="stop at this stage instead of the report")
    _add_common(parser, "only say what would be done, and why")
    return parser


def sweep_parser(root: Path | None) -> Parser:
    """Of `wmtp sweep`, likewise."""
    parser = Parser(
        prog="wmtp sweep",
        description="An experiment for each combination of values, and one comparison of them.",
        epilog=_explained(_profiles(root)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_experiment(parser, "key=value,value,...")
    _add_common(parser, "only list the points, and what would be computed for them")
    return parser


def _add_common(parser: Parser, dry: str) -> None:
    parser.add_argument("--workspace", type=nonempty, metavar="NAME", help="in .wmtp/workspaces/NAME, beside other runs")
    parser.add_argument("--pull", action=argparse.BooleanOptionalAction, help=PULL)
    parser.add_argument("--dry", action="store_true", help=dry)
    parser.add_argument("-v", "--verbose", action="store_true", help="all that the stages and Prefect say")


def _profiles(root: Path | None) -> dict[str, Mapping[str, str]]:
    return {} if root is None else {"profiles": headlines(root, "profiles")}


def _explained(groups: Mapping[str, Mapping[str, str]]) -> str:
    """Every name with its line, group by group."""
    width = max((len(name) for group in groups.values() for name in group), default=0)
    parts = [
        f"{title}:\n" + "\n".join(f"  {name:<{width}}  {what}".rstrip() for name, what in group.items())
        for title, group in groups.items()
    ]
    more = "`wmtp arms` lists the arms, docs/configuration.md every key that a key=value can have"
    return "\n\n".join([*parts, more])
