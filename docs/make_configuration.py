"""Write docs/configuration.md from the schema, dvc.yaml, and what the configuration itself refuses.

Run from the repository's root: `python docs/make_configuration.py`. A test compares the page with what this makes.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml

from wmtp import weightings
from wmtp.checks import MAX_BYTES, MAX_COUNT, MAX_SEED
from wmtp.config import unread
from wmtp.config.arms import ArmOptions, load_weighting
from wmtp.config.compose import SECTIONS, build, compose, to_plain
from wmtp.config.schema import Config
from wmtp.errors import ConfigError
from wmtp.weightings import Weighting

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"
MISSING: Any = object()
PROBES: dict[type, tuple[Any, ...]] = {
    int: (-1, 0, 3, MAX_COUNT),
    float: (-1.0, 0.0, 2.0, 10.0**12),
    str: ("?",),
    list: ([], [-1.0], ["?", "?"]),
    dict: ({"?": "?"},),
}
"""What no key allows, or some do: the words with which it is refused are the key's range."""

_OF_ONE_PROFILE = re.compile(r"(\b[a-z_]+(?:\.[a-z_]+)+)=\d+")
"""Another key with its value, which is another one in another experiment."""


@dataclasses.dataclass(frozen=True)
class Key:
    """One leaf of the configuration. `kind`: as Python writes the type; `owner`: the class that documents it."""

    name: str
    kind: Any
    default: Any
    owner: type


def leaves(kind: type, prefix: str) -> Iterator[Key]:
    """Every key below a section, in the order of its class."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint, name = hints[field.name], f"{prefix}{field.name}"
        if dataclasses.is_dataclass(hint):
            yield from leaves(typing.cast(type, hint), f"{name}.")
            continue
        made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        yield Key(name, hint, made, kind)


def with_base(keys: Iterable[Key]) -> list[Key]:
    """The same with configs/base.yaml's values where it has any: it comes before every profile."""
    base = yaml.safe_load((ROOT / "configs" / "base.yaml").read_text(encoding="utf-8"))
    found = []
    for key in keys:
        value = base
        for part in key.name.split("."):
            value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
        found.append(key if value is MISSING else dataclasses.replace(key, default=value))
    return found


def stages_that_read(key: str, stages: dict[str, Any]) -> list[str]:
    """Those that are made stale, and of `runtime`, a parameter of none, those with a module that reads the key."""
    section, _, name = key.partition(".")
    if section != "runtime":
        return made_stale(key, stages)
    deps = {stage: what.get("do", what).get("deps", ()) for stage, what in stages.items()}
    modules = {stage: [ROOT / path for path in paths if re.fullmatch(r"src/[\w/]+\.py", path)] for stage, paths in deps.items()}
    return [stage for stage, paths in modules.items() if any(name in _read_of_runtime(path) for path in paths)]


@cache
def _read_of_runtime(path: Path) -> frozenset[str]:
    """Fields that a module asks something called `runtime` for."""
    asked = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Attribute))
    return frozenset(node.attr for node in asked if getattr(node.value, "id", getattr(node.value, "attr", "")) == "runtime")


def made_stale(key: str, stages: dict[str, Any]) -> list[str]:
    """Stages of dvc.yaml among whose params the key is, or a mapping that it is in."""
    found = []
    for name, stage in stages.items():
        params = [param.replace("${item.arm}", "baseline") for param in stage.get("do", stage).get("params", ())]
        if any(f"{key}.".startswith(f"{param}.") for param in params):
            found.append(name)
    return found


def allowed(key: Key, plain: dict[str, Any]) -> list[str]:
    """What the configuration says is allowed where it refuses a probe."""

    def built(probe: Any) -> None:
        tree = copy.deepcopy(plain)
        *path, last = key.name.split(".")
        inner = tree
        for part in path:
            inner = inner[part]
        inner[last] = probe
        build(tree)

    return _rules(key, built)


def _rules(key: Key, take: Callable[[Any], object]) -> list[str]:
    """What is said to be allowed where `take` refuses a probe."""
    rules: list[str] = []
    for probe in (value for kind in PROBES if _takes(key.kind, kind) for value in PROBES[kind]):
        try:
            take(probe)
        except ConfigError as error:
            start = f"{key.name}={probe!r} is not allowed: "
            rule = _OF_ONE_PROFILE.sub(r"\1", str(error).removeprefix(start))
            if str(error).startswith(start) and rule not in rules:
                rules.append(rule)
    return rules


def _takes(hint: Any, kind: type) -> bool:
    parts = typing.get_args(hint) if typing.get_origin(hint) is typing.Union else (hint,)
    return any((typing.get_origin(part) or part) is kind for part in parts)


def _type_text(hint: Any) -> str:
    parts = typing.get_args(hint) if typing.get_origin(hint) is typing.Union else (hint,)
    return " or ".join(map(_part_text, parts))


def _part_text(hint: Any) -> str:
    names = {int: "int", float: "float", str: "text", bool: "bool", type(None): "null"}
    if typing.get_origin(hint) is dict:
        return "mapping of names to texts"
    return names.get(hint) or f"list of {names.get(typing.get_args(hint)[0], 'texts')}"


INTRODUCTION = """# Every setting

Made by `python docs/make_configuration.py` from the schema, `dvc.yaml`, and what the configuration refuses; a test compares.
`configs/base.yaml`, then a profile (`configs/profiles/`), then arms (`configs/arms/`), then overrides (`wmtp run ...
KEY=VALUE`) say what differs from the defaults; `params.yaml` is the result.

**read by**: the stages that read the key, some of them with other settings alone. **makes stale**: those that therefore run
again when it changes. Stages that use what these write run again if that comes out differently; what makes nothing stale
(`runtime`) changes how its readers go about it and no result. A value
that is not allowed is refused when the configuration is composed, with what is; so is an override of a key that is read with
other settings alone. Whole numbers are at most %(count)s, seeds %(seed)s, bytes %(bytes)s.

| key | is |
| --- | --- |
| `arms` | list of names of `configs/arms/*.yaml` |
| `seeds` | list of whole numbers, 0 to 4294967295: every arm is trained with each |
| `share_upstream` | `false`: every seed has its own reference and critic. `true`: all use the first seed's |
"""

WEIGHTINGS = """## arms.NAME.weighting

`{name: ..., KEY: VALUE}`: every weighting with keys of its own. They make stale what `arms.NAME` does, of the arms that have
them. What they do: [method.md](method.md). `wmtp arms` lists the arms that there are.

| name | key | type | default | allowed |
| --- | --- | --- | --- | --- |"""


def page() -> str:
    """The whole page."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    plain = to_plain(compose(ROOT, "demo", arms=["baseline"]))  # other arms add no rule, only time
    hints, shown = typing.get_type_hints(Config), set[type]()
    parts = [INTRODUCTION % {"count": MAX_COUNT, "seed": MAX_SEED, "bytes": MAX_BYTES}]
    for section in SECTIONS:
        parts.append(f"## {section}\n")
        parts += _tables(with_base(leaves(hints[section], f"{section}.")), stages, plain, shown)
    parts.append("## arms.NAME\n")
    keys = [dataclasses.replace(key, name=key.name.replace("NAME", "baseline")) for key in leaves(ArmOptions, "arms.NAME.")]
    parts += [text.replace("arms.baseline.", "arms.NAME.") for text in _tables(keys, stages, plain, shown)]
    return "\n".join([*parts, WEIGHTINGS, *weighting_rows(), ""])


def weighting_rows() -> Iterator[str]:
    """Of every weighting its keys, or that it has none; one that holds another begins with the uniform one."""
    for name in weightings.names():
        kind = weightings.kind(name)
        keys = [dataclasses.replace(key, name=f"weighting.{key.name}") for key in leaves(kind, "")]
        hints = typing.get_type_hints(kind)
        inner = [field for field in dataclasses.fields(kind) if hints[field.name] is Weighting]
        for key in keys:
            take = partial(_load_with, name, key.name.removeprefix("weighting."))
            rules = "; ".join(_rules(key, take)).replace("|", "or")
            yield f"| `{name}` | `{key.name}` | {_type_text(key.kind)} | `{_default_text(key)}` | {rules} |"
        for field in inner:
            yield f"| `{name}` | `weighting.{field.name}` | a weighting | `{{name: uniform}}` | any of these |"
        if not (keys or inner):
            yield f"| `{name}` | | | | |"


def _load_with(name: str, key: str, value: Any) -> Weighting:
    return load_weighting({"name": name, key: value}, "weighting")


def _tables(keys: list[Key], stages: dict[str, Any], plain: dict[str, Any], shown: set[type]) -> Iterator[str]:
    """Keys of one class after another, each class with its own words where it is met first."""
    owners = list(dict.fromkeys(key.owner for key in keys))
    for owner in owners:
        if owner not in shown and owner.__doc__ and not owner.__doc__.startswith(f"{owner.__name__}("):
            yield f"{inspect.cleandoc(owner.__doc__)}\n"
        shown.add(owner)
        rows = ["| key | type | default | allowed | read by | makes stale |", "| --- | --- | --- | --- | --- | --- |"]
        rows += [_row(key, stages, plain) for key in keys if key.owner is owner]
        yield "\n".join(rows) + "\n"


def _row(key: Key, stages: dict[str, Any], plain: dict[str, Any]) -> str:
    readers, stale = stages_that_read(key.name, stages), made_stale(key.name, stages) or ["nothing"]
    needed = unread.needs(key.name)
    rules = "; ".join([*allowed(key, plain), *([f"read with {needed} alone"] if needed else [])]).replace("|", "or")
    about = f"`{key.name}` | {_type_text(key.kind)} | `{_default_text(key)}` | {rules}"
    return f"| {about} | {', '.join(readers)} | {', '.join(stale)} |"


def _default_text(key: Key) -> str:
    return "null" if key.default is None else str(key.default).lower() if isinstance(key.default, bool) else str(key.default)


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
