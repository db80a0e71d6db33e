"""What a stage may read of the configuration: only what dvc.yaml lists as its params, or DVC would judge wrongly."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from wmtp.config import Config


def declared_only(config: Config, declared: Sequence[str], stage: str) -> Config:
    """`config` with everything that is not in `declared` (dotted keys) replaced by something that cannot be read."""
    parts = {f.name: _view(getattr(config, f.name), f.name, declared, stage) for f in dataclasses.fields(config)}
    return dataclasses.replace(config, **parts)


def _view(value: Any, key: str, declared: Sequence[str], stage: str) -> Any:
    if key in declared:
        return value
    inner = [name for name in declared if name.startswith(f"{key}.")]
    if isinstance(value, dict):
        parts = {name: _view(item, f"{key}.{name}", declared, stage) for name, item in value.items()}
        return {name: part for name, part in parts.items() if not isinstance(part, _Undeclared)}
    if not inner or not dataclasses.is_dataclass(value):
        return _Undeclared(key, stage)
    known = {f.name: _view(getattr(value, f.name), f"{key}.{f.name}", declared, stage) for f in dataclasses.fields(value)}
    return _Part(known, key, stage)


class _Part:
    """A section of which only some fields are declared. It has no properties: those may look at any field."""

    def __init__(self, fields: dict[str, Any], key: str, stage: str) -> None:
        self.__dict__.update(fields)
        self.__dict__["_about"] = (key, stage)

    def __getattr__(self, name: str) -> Any:
        key, stage = self.__dict__["_about"]
        raise AssertionError(f"{stage} reads config.{key}.{name}, and not all of {key} is among its params in dvc.yaml")


class _Undeclared:
    """Stands where something is that the stage has not declared."""

    def __init__(self, key: str, stage: str) -> None:
        self.__dict__["_about"] = (key, stage)

    def _refuse(self, *arguments: Any) -> Any:
        key, stage = self.__dict__["_about"]
        raise AssertionError(f"{stage} reads config.{key}, which is not among its params in dvc.yaml")

    __getattr__ = __getitem__ = __iter__ = __len__ = __contains__ = __eq__ = __bool__ = __str__ = _refuse
    __format__ = __float__ = __int__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __mul__ = __index__ = _refuse
    __hash__ = object.__hash__


def declared_values(tree: dict[str, Any], declared: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """The declared leaves of the configuration as a flat mapping with dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            flat |= declared_values(value, declared, f"{key}.")
        elif any(key == one or key.startswith(f"{one}.") for one in declared):
            flat[key] = value
    return flat
