"""Datasets and benchmarks: one module each, which holds its `TASKSET`. A module that is here is known; there is no list."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from wmtp.checks import nearest
from wmtp.errors import ConfigError
from wmtp.problems.files import Reading, parse_problems
from wmtp.tasksets.base import TaskSet
from wmtp.types import Problem


def names() -> tuple[str, ...]:
    """Of all task sets, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base"))


def get(name: str) -> TaskSet:
    """The task set of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in names():
        raise ConfigError(f"unknown task set {name!r}{nearest(name, names())}")
    taskset: TaskSet = importlib.import_module(f"{__name__}.{name}").TASKSET
    assert taskset.name == name, f"{name}.py holds {taskset.name!r}"
    return taskset


def sources() -> tuple[str, ...]:
    """Names of those that can be trained on."""
    return tuple(name for name in names() if not get(name).not_for_training)


def load_problems(name: str, path_or_hub_id: str, reading: Reading | None = None) -> Iterator[Problem]:
    """Problems of a dataset, in its order, one in memory at a time.

    Args:
        name: a task set.
        path_or_hub_id: a .jsonl or .json (.gz, .zst), .parquet or .arrow file, a folder of them, or a hub id
            `owner/name[:config][:split][@revision]`.
        reading: how much may be wrong, and where to note what is; without it the first bad row is an error.
    Raises:
        ConfigError: unknown task set; DataError: a broken record or a duplicate id; names file, line and field.
    """
    return parse_problems(path_or_hub_id, get(name).read, reading)
