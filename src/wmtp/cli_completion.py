"""`wmtp completion SHELL`: a script that lets a shell complete commands, options, and the names to choose from."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from wmtp.arguments import Parser
from wmtp.headlines import headlines

SHELLS = ("bash", "fish", "tcsh", "zsh")


def known_names(root: Path | None) -> dict[str, list[str]]:
    """What arguments can be, by their destination; those of a workspace's files only where there is one."""
    from wmtp import tasksets

    known = {"benchmark": sorted(tasksets.names())}
    if root is None:
        return known
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return known | {"profile": [*headlines(root, "profiles")], "arms": [*headlines(root, "arms")], "stage_name": [*stages]}


def script(parser: Parser, shell: str, known: Mapping[str, Sequence[str]], paths: Sequence[object]) -> str:
    """The completion of a whole parser.

    Args:
        known: see `known_names`.
        paths: types of arguments that are files or folders.
    """
    import shtab

    for action in _actions(parser):
        if action.choices is None and action.dest in known:
            action.choices = known[action.dest]
        if action.type in paths:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Of a parser and of the parsers of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)
