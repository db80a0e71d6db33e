"""`wmtp sweep`: an experiment for each combination of values. What is there of them, and what has to be computed.

A point is done when an experiment is recorded that was made with the settings which its stages read, from the code and the data
that lie here now, and whose results are in DVC's cache. So a sweep that was ended goes on with what is missing, and another one
over some of the same points uses them; there is no list of sweeps that could say otherwise.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmtp.config import Config, compose
from wmtp.config.compose import dump, to_plain
from wmtp.errors import ConfigError
from wmtp.experiments import has_results
from wmtp.orchestration import experiments as kept
from wmtp.orchestration.experiments import Experiment
from wmtp.orchestration.pipeline import read_given, read_graph
from wmtp.orchestration.snapshots import require_commit

REPORT = "report"
"""The stage that every point comes to."""
_OPENING, _CLOSING, _QUOTES = "[{(", ")}]", "'\""


@dataclass(frozen=True)
class Point:
    """One experiment of a sweep.

    `chosen`: the values, as text, of the keys that are varied; `overrides`: those and the fixed ones, `key=value`.
    """

    chosen: Mapping[str, str]
    overrides: tuple[str, ...]
    config: Config

    @property
    def name(self) -> str:
        """`train_policy.optim.lr=1e-3, arms.rho1.weighting.keep_frac=0.4`."""
        return ", ".join(f"{key}={value}" for key, value in self.chosen.items())


@dataclass(frozen=True)
class Recipe:
    """A point's stages as DVC would run them.

    `graph`: what each needs; `hashes`: of all that decides its result; `given`: as `read_given` has it.
    """

    graph: Mapping[str, list[str]]
    hashes: Mapping[str, str]
    given: Mapping[str, Mapping[str, str]]


def compose_points(
    root: Path,
    profile: str,
    words: Sequence[str],
    *,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Point]:
    """Every combination of the values, the last key's varying fastest, each of them composed and checked.

    Args:
        words: `key=value,value,...`; a key with one value is fixed. A list is one value: `report.k=[1,5],[1,10]`.
        profile, arms, seeds: as in `compose`.
    Raises:
        ConfigError: no key has several values, one is given twice, two points are the same, or what `compose` refuses.
    """
    require_commit(root)
    values: dict[str, list[str]] = {}
    for word in words:
        key, is_one, text = word.partition("=")
        if not is_one or not key:
            raise ConfigError(f"{word!r} is not of the form key=value,value,...")
        if key in values:
            raise ConfigError(f"{key} is given twice: put its values into one, {key}={','.join([*values[key], text])}")
        values[key] = _split(word, text)
    varied = [key for key, several in values.items() if len(several) > 1]
    if not varied:
        raise ConfigError("a sweep is over several values of a key, key=value,value,... (`wmtp run` makes one experiment)")
    points = []
    for combination in itertools.product(*values.values()):
        one = dict(zip(values, combination, strict=True))
        overrides = tuple(f"{key}={value}" for key, value in one.items())
        config = compose(root, profile, arms=arms, seeds=seeds, overrides=overrides)
        points.append(Point({key: one[key] for key in varied}, overrides, config))
    _require_different(points)
    return points


def _split(word: str, text: str) -> list[str]:
    """At the commas outside of brackets and quotes."""
    values, depth, quote, start = list[str](), 0, "", 0
    for index, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES and not text[start:index].strip():
            quote = letter
        elif letter == "," and depth == 0:
            values.append(text[start:index].strip())
            start = index + 1
        else:
            depth += (letter in _OPENING) - (letter in _CLOSING)
    values.append(text[start:].strip())
    if len(values) > 1 and not all(values):
        raise ConfigError(f"{word!r} has an empty value between its commas")
    return values


def _require_different(points: Sequence[Point]) -> None:
    seen: dict[str, Point] = {}
    for point in points:
        other = seen.setdefault(json.dumps(to_plain(point.config), sort_keys=True), point)
        if other is not point:
            raise ConfigError(f"{other.name} and {point.name} are the same experiment: give each value once")


# --------------------------------------------------------------------------------------- what is there


def read_recipe(root: Path, point: Point) -> Recipe:
    """What the point's stages are made from; nothing of them need be there.

    Raises:
        ConfigError: something that is given does not exist.
    """
    text = dump(point.config)
    graph = read_graph(root, [REPORT], params=text)
    given = read_given(root, graph, params=text)
    hashes: dict[str, str] = {}
    for name, needs in graph.items():
        told = json.dumps([name, given[name], [hashes[need] for need in needs]], sort_keys=True)
        hashes[name] = hashlib.sha256(told.encode()).hexdigest()
    return Recipe(graph, hashes, given)


def find_done(root: Path, points: Sequence[Point]) -> list[Experiment | None]:
    """For each point the experiment that is it, newest first; None where it has to be made.

    Raises:
        ConfigError: as `read_recipe`.
    """
    every = [one for one in reversed(kept.find_all(root)) if one.identity is not None]
    return [_the_one(root, every, point) for point in points]


def _the_one(root: Path, every: Sequence[Experiment], point: Point) -> Experiment | None:
    if not every:
        return None
    given = read_recipe(root, point).given
    return next((one for one in every if one.is_made_from(given) and has_results(root, one)), None)


def distinct(found: Iterable[Experiment | None]) -> list[Experiment]:
    """Those that are there, each once: points that differ in what nothing reads are one experiment."""
    return list({one.commit: one for one in found if one is not None}.values())
