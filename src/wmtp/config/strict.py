"""A plain mapping as a frozen dataclass, strictly: an unknown key or a wrong type is an error that names it."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

from wmtp.checks import nearest, require
from wmtp.errors import ConfigError


def structured(cls: type, tree: Any, where: str) -> Any:
    """`tree` as an instance of dataclass `cls`; unknown keys and wrong types raise ConfigError naming `where`."""
    require(isinstance(tree, Mapping), where, tree, f"a mapping with keys of {', '.join(_known_keys(cls, []))}")
    try:
        return OmegaConf.to_object(OmegaConf.merge(_writable(OmegaConf.structured(cls)), tree))
    except ConfigKeyError as error:
        key = (error.full_key or str(error.key)).split(".")
        known = _known_keys(cls, key[:-1])
        raise ConfigError(f"unknown key {where}.{'.'.join(key)}{nearest(key[-1], known)}") from None
    except ValidationError as error:
        raise ConfigError(f"{where}.{error.full_key}: {str(error.msg or error).splitlines()[0]}") from None
    except OmegaConfBaseException as error:
        raise ConfigError(f"{where}: {str(error).splitlines()[0]}") from None


def _writable(node: DictConfig) -> DictConfig:
    """OmegaConf marks frozen dataclasses read-only, which a merge must lift at every level."""
    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            _writable(child)
    return node


def _known_keys(cls: type, path: Sequence[str]) -> list[str]:
    for part in path:
        cls = typing.get_type_hints(cls).get(part, cls)
    return [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def reject_unknown(names: Iterable[Any], known: Sequence[str], what: str) -> None:
    """Raises ConfigError for the first name that is not known."""
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown {what} {name!r}{nearest(name, known)}")
