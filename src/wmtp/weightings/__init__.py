"""How an arm turns a batch into weights: one module per weighting, found by its name. There is no table to edit.

A module `weightings/NAME.py` defines one subclass of `Weighting` (see `base`) that is not imported; its fields are the keys of
`weighting: {name: NAME, ...}` in an arm's YAML.
"""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

from wmtp.checks import nearest
from wmtp.errors import ConfigError
from wmtp.weightings.base import Column, Needs, Weighting, WeightInputs

__all__ = ["Column", "Needs", "WeightInputs", "Weighting", "kind", "names"]


def names() -> list[str]:
    """Every weighting, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def kind(name: str) -> type[Weighting]:
    """The weighting's class.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        raise ConfigError(f"unknown weighting {name!r}{nearest(name, names())}")
    module = import_module(f"{__name__}.{name}")
    (found,) = (
        one
        for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, Weighting) and one.__module__ == module.__name__
    )
    weighting: type[Weighting] = found
    return weighting
