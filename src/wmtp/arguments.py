"""What is typed on a command line: numbers within their range, and one line for each mistake. No torch."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from wmtp.checks import closest, nearest
from wmtp.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """Refuses with a ConfigError instead of printing how it is used and leaving; its subcommands' parsers do the same.

    `passes_on`: options that it does not know are another's to read.
    """

    passes_on = False

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see `{self.prog} --help`)")

    def unrecognized(self, words: Sequence[str]) -> NoReturn:
        """Refuses words that mean nothing here."""
        close = (closest(_option(word), self._options) for word in words if word.startswith("--"))
        meant = next(filter(None, close), None)
        self.error(f"unrecognized arguments: {' '.join(words)}" + (f": did you mean {meant}?" if meant else ""))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """A mistyped option is told before anything that is missing for it."""
        if not (self.passes_on or self._subparsers):
            typed = [word for word in args or () if word.startswith("--") and word != "--"]
            unknown = [word for word in typed if not any(option.startswith(_option(word)) for option in self._options)]
            if unknown:
                self.unrecognized(unknown)
        return super().parse_known_args(args, namespace)

    @property
    def _options(self) -> list[str]:
        return [option for action in self._actions for option in action.option_strings if option.startswith("--")]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"unknown {value!r}{nearest(value, map(str, action.choices))}")


def _option(word: str) -> str:
    return word.partition("=")[0]


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an argument that is a whole number, at least `least` and at most `most`."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, {least} or more, not {text!r}") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"must be {least} or more, not {text}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"must be {most} or less, not {text}")
        return value

    return number


def wholes(least: int) -> Callable[[str], tuple[int, ...]]:
    """The same for several, with commas between them."""
    one = whole(least)
    return lambda text: tuple(one(part) for part in text.split(","))


def names(text: str) -> tuple[str, ...]:
    """Several names with commas between them, or `none` for none."""
    found = tuple(part.strip() for part in text.split(","))
    if not all(found):
        raise argparse.ArgumentTypeError(f"must be names with commas between them, or `none`, not {text!r}")
    return () if found == ("none",) else found


def several(text: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def add_experiment(parser: argparse.ArgumentParser, setting: str) -> None:
    """What chooses an experiment: `--profile`, `--arms`, `--seeds` and `overrides`, of the form `setting`."""
    parser.add_argument("--profile", default="demo", help="size of the experiment (default: demo)")
    parser.add_argument("--arms", type=several, help="comma-separated, instead of the profile's")
    parser.add_argument("--seeds", type=lambda text: list(wholes(0)(text)), help="comma-separated, instead of the profile's")
    more = "any settings, e.g. train_policy.train.steps=600"
    parser.add_argument("overrides", nargs="*", default=[], metavar=setting, help=more)


def positive(most: float = math.inf, *, or_zero: bool = False) -> Callable[[str], float]:
    """The type of an argument that is a number above 0 (or 0 itself), at most `most`, and finite."""
    allowed = f"must be a finite number {'of 0 or more' if or_zero else 'above 0'}" + (
        f", at most {most:g}" if math.isfinite(most) else ""
    )

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (0 <= value <= most and math.isfinite(value)) or (value == 0 and not or_zero):
            raise argparse.ArgumentTypeError(f"{allowed}, not {text!r}")
        return value

    return number


def nonempty(given: str) -> str:
    """The type of an argument that is a name or a path: an empty one (a shell's unset variable) would mean this folder."""
    if not given.strip():
        raise argparse.ArgumentTypeError("is empty")
    return given


def path(given: str) -> Path:
    """The type of an argument that is a path."""
    return Path(nonempty(given))


def of_arguments(record: Any, arguments: argparse.Namespace) -> Any:
    """A record whose fields are arguments of the same names."""
    return record(**{field.name: getattr(arguments, field.name) for field in fields(record)})
