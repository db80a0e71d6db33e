"""How an arm turns a batch into weights: one module per weighting, found by its name. There is no table to edit.

A module `weightings/NAME.py` defines one subclass of `Weighting` (see `base`) that is not imported; its fields are the keys of
`weighting: {name: NAME, ...}` in an arm's YAML. Another package offers one as an entry point of the group `wmtp.weightings`,
`NAME = "package.NAME:Class"`.
"""

from __future__ import annotations

import hashlib
import inspect
import pkgutil
from dataclasses import MISSING, fields
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from wmtp.checks import nearest
from wmtp.errors import ConfigError, described
from wmtp.weightings.base import Column, Level, Needs, Weighting, WeightInputs

__all__ = ["Column", "Needs", "WeightInputs", "Weighting", "foreign", "kind", "names", "source_digest"]

GROUP = "wmtp.weightings"


def names() -> list[str]:
    """Every weighting of wmtp's own, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


@cache
def foreign() -> dict[str, EntryPoint]:
    """Weightings that other installed packages offer, by name.

    Raises:
        ConfigError: two packages offer one name, or one of wmtp's own.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = "wmtp itself" if point.name in names() else found[point.name].module if point.name in found else ""
        if other and other != point.module:
            raise ConfigError(f"weighting {point.name!r} of {point.module} is one of {other}, too: rename its entry point")
        found[point.name] = point
    return dict(sorted(found.items()))


def source_digest(weighting: type[Weighting]) -> str | None:
    """SHA-256 of all Python files of the package that a weighting is from; None for wmtp's own, which DVC itself looks at."""
    if weighting.__module__.startswith(f"{__name__}."):
        return None
    spec = find_spec(weighting.__module__.partition(".")[0])
    assert spec is not None and spec.origin is not None, f"{weighting} was imported from somewhere"
    folder = Path(spec.origin).parent
    files = sorted(folder.rglob("*.py")) if spec.submodule_search_locations else [Path(spec.origin)]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def kind(name: str) -> type[Weighting]:
    """The weighting's class.

    Raises:
        ConfigError: there is none of that name, or an entry point that does not lead to one.
    """
    others = foreign()
    if name in others:
        return _loaded(others[name])
    if name not in names():
        raise ConfigError(f"unknown weighting {name!r}{nearest(name, [*names(), *others])}")
    file = f"src/wmtp/weightings/{name}.py"
    try:
        module = import_module(f"{__name__}.{name}")
    except Exception as error:  # a user's own file, as it is while it is written
        raise ConfigError(f"weighting {name!r}: {file} cannot be imported: {described(error)}") from error
    own = [
        one
        for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, Weighting) and one.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise ConfigError(f"weighting {name!r}: {file} must hold one subclass of Weighting, and holds {len(own)}")
    return _whole(name, own[0])


def _whole(name: str, found: type[Weighting]) -> type[Weighting]:
    """Raises ConfigError: the class lacks something that would be missed, or passed over, only when it weighs."""
    where = f"weighting {name!r}: {found.__module__}.{found.__name__}"
    if inspect.isabstract(found):
        raise ConfigError(f"{where} has no method `weights`")
    if "__dataclass_fields__" not in vars(found):
        raise ConfigError(f"{where} is no dataclass, so that its fields are no keys: put @dataclass(frozen=True) before it")
    for field in fields(found):
        if field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{where}.{field.name} has no default, so that the weighting cannot be had by its name alone")
    if found.level not in get_args(Level):
        raise ConfigError(f"{where}.level is {found.level!r}: use one of {', '.join(get_args(Level))}")
    return found


def _loaded(point: EntryPoint) -> type[Weighting]:
    try:
        found = point.load()
    except Exception as error:  # a user's own package, as it is while it is written
        raise ConfigError(f"weighting {point.name!r} cannot be had from {point.value}: {described(error)}") from None
    if not (inspect.isclass(found) and issubclass(found, Weighting)):
        raise ConfigError(f"weighting {point.name!r}: {point.value} is no subclass of wmtp.weightings.Weighting")
    if found.__module__.rpartition(".")[2] != point.name:
        raise ConfigError(f"weighting {point.name!r} is defined in {found.__module__}: its module has to have its name")
    return _whole(point.name, found)
