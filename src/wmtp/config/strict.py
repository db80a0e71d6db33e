"""A plain mapping as a frozen dataclass, strictly: an unknown key or a wrong type is an error that names it."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

from wmtp.checks import nearest, require, require_bounded
from wmtp.errors import ConfigError, first_line


def structured(cls: type, tree: Any, where: str) -> Any:
    """`tree` as an instance of dataclass `cls`; unknown keys, wrong types and whole numbers that none can be so large raise
    ConfigError naming `where`."""
    _require_mappings(cls, tree, where)
    try:
        return OmegaConf.to_object(OmegaConf.merge(_writable(OmegaConf.structured(cls)), tree))
    except ConfigKeyError as error:
        key = (error.full_key or str(error.key)).split(".")
        known = _known_keys(cls, key[:-1])
        raise ConfigError(f"unknown key {where}.{'.'.join(key)}{nearest(key[-1], known)}") from None
    except ValidationError as error:
        path = str(error.full_key or "").split(".")
        wanted = _in_words(type_of(cls, path))
        if wanted is None:
            raise ConfigError(f"{where}.{error.full_key}: {first_line(error.msg or error)}") from None
        raise ConfigError(f"{where}.{error.full_key}={_value_at(tree, path)!r} is not allowed: {wanted}") from None
    except OmegaConfBaseException as error:
        raise ConfigError(f"{where}: {first_line(error)}") from None


def _require_mappings(cls: type, tree: Any, where: str) -> None:
    """Where sections are within sections, there are mappings; whole numbers are bounded."""
    require(isinstance(tree, Mapping), where, tree, f"a mapping with keys of {', '.join(_known_keys(cls, []))}")
    for name, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint) and name in tree:
            _require_mappings(typing.cast(type, hint), tree[name], f"{where}.{name}")
        elif name in tree and isinstance(tree[name], int) and (hint is int or int in typing.get_args(hint)):
            require_bounded(f"{where}.{name}", tree[name])


def parse_yaml(text: str, hint: Any) -> Any:
    """What YAML holds, with scalars left as they are written where `hint` has texts: `1.10`, `on`, `0123`; null stays null.

    Args:
        hint: a type: a dataclass, a list or mapping of a type, `str`, or anything else.
    Raises:
        yaml.YAMLError: the text is none.
    """
    loader = get_yaml_loader()(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _keep_texts(node, hint)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def type_of(hint: Any, path: Sequence[str]) -> Any:
    """The type at dotted keys below a type; None where there is none."""
    for name in path:
        hint = _inner_type(hint, name)
    return hint


def _inner_type(hint: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return typing.get_type_hints(hint).get(name)
    return typing.get_args(hint)[1] if typing.get_origin(hint) is dict else None


def _keep_texts(node: yaml.Node, hint: Any) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _keep_texts(value, _inner_type(hint, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        inner = typing.get_args(hint)[0] if typing.get_origin(hint) is list else None
        for value in node.value:
            _keep_texts(value, inner)
    elif (hint is str or str in typing.get_args(hint)) and typing.get_origin(hint) not in (list, dict):
        node.tag = node.tag if node.tag == "tag:yaml.org,2002:null" else "tag:yaml.org,2002:str"


def _writable(node: DictConfig) -> DictConfig:
    """OmegaConf marks frozen dataclasses read-only, which a merge must lift at every level."""
    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            _writable(child)
    return node


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}


def _in_words(hint: Any) -> str | None:
    """What a value of that type is; None for types of another kind."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is list and inner[0] in _WORDS:
        one = _WORDS[inner[0]].removeprefix("a ")
        return f"a list, each {_WORDS[inner[0]]}" if one == _WORDS[inner[0]] else f"a list of {one}s"
    if inner and all(part in _WORDS for part in inner):
        return " or ".join(_WORDS[part] for part in inner)
    return _WORDS.get(hint) if isinstance(hint, type) else None


def _value_at(tree: Any, path: Sequence[str]) -> Any:
    for name in path:
        tree = tree[name] if isinstance(tree, Mapping) else None
    return tree


def _known_keys(cls: type, path: Sequence[str]) -> list[str]:
    for part in path:
        cls = typing.get_type_hints(cls).get(part, cls)
    return [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def reject_unknown(names: Iterable[Any], known: Sequence[str], what: str) -> None:
    """Raises ConfigError for the first name that is not known."""
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown {what} {name!r}{nearest(name, known)}")
