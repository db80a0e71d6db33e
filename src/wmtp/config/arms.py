"""Arms and runs: what is compared, and the files that each run depends on."""

from __future__ import annotations

import ast
import dataclasses
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, Optional

from wmtp import weightings
from wmtp.checks import nearest, one_of, require
from wmtp.config.strict import reject_unknown, structured
from wmtp.config.training import ModelConfig
from wmtp.errors import ConfigError
from wmtp.weightings import Weighting
from wmtp.weightings.base import SCORES, Column

NOTHING = "artifacts/data"
"""Stands for a dependency that a run does not have: DVC needs a path, and every run has this one."""

NUM_DEPS = 12
"""Slots for a run's own dependencies in dvc.yaml, which cannot interpolate a list but its items."""


@dataclass(frozen=True)
class ArmOptions:
    """What of an arm is not its weighting.

    `n_future: 1` makes a next-token arm of the same number of layers. `solutions`: train on `all` solutions or on `correct`
    ones only. `alignment`: of a weighting that weighs positions, see `expand_weights`. `reduction`, `normalise`: see
    `mtp_loss`. `token_order`: how much of the loss of token-order prediction (arXiv 2508.19228) is added. `token_order_window`:
    how many tokens ahead it ranks, see `order_targets`. `head_variant`, `head_stride`: of further heads, where they are to be
    others than `train_policy.model`'s.
    """

    n_future: Optional[int] = None
    head_variant: Optional[str] = None
    head_stride: Optional[int] = None
    solutions: str = "all"
    alignment: str = "target"
    reduction: str = "head_mean"
    normalise: str = "mean_one"
    token_order: float = 0.0
    token_order_window: int = 32


@dataclass(frozen=True, kw_only=True)
class ArmConfig(ArmOptions):
    """One arm: how tokens are weighted, and nothing else that could make a difference.

    Raises:
        ConfigError: a value out of range, or an option that can have no effect with this weighting.
    """

    weighting: Weighting

    def __post_init__(self) -> None:
        one_of("arm.solutions", self.solutions, ("all", "correct"))
        one_of("arm.alignment", self.alignment, ("target", "source"))
        one_of("arm.reduction", self.reduction, ("head_mean", "position_mean"))
        one_of("arm.normalise", self.normalise, ("mean_one", "none"))
        require(self.n_future is None or self.n_future >= 1, "arm.n_future", self.n_future, "at least 1")
        require(self.token_order >= 0, "arm.token_order", self.token_order, "0 (no token-order prediction) or more")
        require(self.token_order_window >= 2, "arm.token_order_window", self.token_order_window, "2 or more tokens ahead")
        ranks = self.token_order > 0 or self.token_order_window == ArmOptions.token_order_window
        rule = f"{ArmOptions.token_order_window} unless token_order is more than 0: nothing is ranked"
        require(ranks, "arm.token_order_window", self.token_order_window, rule)
        name = self.weighting.name
        strides = self.head_stride is None or self.head_variant is not None
        require(strides, "arm.head_stride", self.head_stride, "null unless head_variant is given")
        several = self.head_variant is None or self.n_future != 1
        require(several, "arm.head_variant", self.head_variant, "null with n_future=1: there is no head but the model's own")
        moved = self.alignment == "target" or self.weighting.has_alignment
        require(moved, "arm.alignment", self.alignment, f"weighting {name} weighs targets, not positions: use target")
        is_of_run = any(column.is_of_run for column in self.weighting.needs.columns)
        for key in ("n_future", "head_variant"):
            rule = f"weighting {name} is made from train_policy.model's own start: use null"
            require(getattr(self, key) is None or not is_of_run, f"arm.{key}", getattr(self, key), rule)
        scaled = self.normalise == "mean_one" or self.weighting.level != "same"
        require(scaled, "arm.normalise", self.normalise, f"weighting {name} is one everywhere: use mean_one")

    def model(self, section: ModelConfig) -> ModelConfig:
        """`train_policy.model` with this arm's kind of heads. How many there are, it does not say: see `n_future`.

        Raises:
            ConfigError: heads that there are not, or that do not go with the rest of the section.
        """
        if self.head_variant is None:
            return section
        return dataclasses.replace(section, head_variant=self.head_variant, head_stride=self.head_stride or 1)

    @property
    def is_weighted(self) -> bool:
        """Whether the arm weighs tokens differently at all."""
        return self.weighting.level != "same"


@dataclass(frozen=True)
class RunConfig:
    """One policy run; composed, never chosen.

    `deps`: the folders of the score columns and the modules that its weighting needs, filled up with `NOTHING`: dvc.yaml names
    them one by one. `upstream`: the seed of the reference and the critic that it uses.
    """

    arm: str
    seed: int
    upstream: int = 0
    deps: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ColumnConfig:
    """A score column that some run needs, by the key that its folder ends with; composed, never chosen.

    `seed`: what the model that makes it is seeded with; of a reference or a critic, on top of its section's `train.seed`.
    """

    seed: int


def load_arm(tree: Any, name: str) -> ArmConfig:
    """An arm from its YAML, or from params.yaml.

    Raises:
        ConfigError: an unknown key or weighting, a wrong type or value.
    """
    where = f"arms.{name}"
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{where} holds nothing: it needs a weighting, {{weighting: {{name: uniform}}}}")
    rest = dict(tree)
    known = ["weighting", *(f.name for f in dataclasses.fields(ArmOptions))]
    for key in rest.keys() - set(known):
        raise ConfigError(f"unknown key {where}.{key}{nearest(key, known)}")
    weighting = load_weighting(rest.pop("weighting", None), f"{where}.weighting")
    options = structured(ArmOptions, rest, where)
    try:
        return ArmConfig(**vars(options), weighting=weighting)
    except ConfigError as error:
        raise ConfigError(str(error).replace("arm.", f"{where}.", 1)) from None


def load_weighting(tree: Any, where: str) -> Weighting:
    """A weighting from `{name: ..., and its own keys}`; a key that is a weighting itself is one more such mapping.

    Raises:
        ConfigError: as `load_arm`.
    """
    if not isinstance(tree, Mapping) and tree is not None:
        name = tree if isinstance(tree, str) else "uniform"
        raise ConfigError(f"{where}={tree!r} is not allowed: a mapping with a name, {{name: {name}}}")
    if tree is None or "name" not in tree:
        raise ConfigError(f"{where} needs a name: one of {', '.join([*weightings.names(), *weightings.foreign()])}")
    keys = dict(tree)
    reject_unknown([keys["name"]], [*weightings.names(), *weightings.foreign()], "weighting")
    kind = weightings.kind(keys.pop("name"))
    _check_source(kind, keys.pop("source", None), where)
    hints = typing.get_type_hints(kind)
    inner = [f.name for f in dataclasses.fields(kind) if hints[f.name] is Weighting]
    nested = {key: load_weighting(keys.pop(key), f"{where}.{key}") for key in inner if key in keys}
    try:
        return _weighting_of(kind, keys, nested, {name: hints[name] for name in hints if name not in inner}, where)
    except ConfigError as error:  # a weighting knows its keys, not where it is
        raise ConfigError(re.sub(r"^weighting\.", f"{where}.", str(error))) from None


def _weighting_of(
    kind: type[Weighting], keys: dict[str, Any], nested: dict[str, Weighting], hints: dict[str, Any], where: str
) -> Weighting:
    """`hints`: the types of the keys that are no weightings."""
    inner = [f.name for f in dataclasses.fields(kind) if f.name not in hints]
    if not inner:
        return typing.cast(Weighting, structured(kind, keys, where))
    flat = [(f.name, hints[f.name], dataclasses.field(default=f.default)) for f in dataclasses.fields(kind) if f.name in hints]
    own = structured(dataclasses.make_dataclass(kind.__name__, flat, frozen=True), keys, where)
    return kind(**vars(own), **nested)


def _check_source(kind: type[Weighting], recorded: str | None, where: str) -> None:
    """`source` is composed, never chosen: it makes an arm stale when another package's weighting changes."""
    digest = weightings.source_digest(kind)
    if recorded is not None and recorded != digest:
        raise ConfigError(
            f"{where}.source: the code of {kind.__module__} is not what params.yaml was composed with: compose it again "
            "(`wmtp params`, `wmtp run`)"
        )


def plain(value: Any) -> Any:
    """Configuration as plain mappings, as params.yaml has it: the inverse of what is loaded."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        tree = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if not isinstance(value, Weighting):
            return tree
        digest = weightings.source_digest(type(value))
        return {"name": value.name, **tree} | ({} if digest is None else {"source": digest})
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def make_run(arm: ArmConfig, name: str, seed: int, upstream: int) -> RunConfig:
    """The run of an arm with a seed, and what it depends on. `upstream` is its own seed where it uses nothing of it."""
    columns = arm.weighting.needs.columns
    upstream = seed if all(column.is_of_run for column in columns) else upstream
    folders = [column.path(seed, upstream) for column in columns]
    deps = [*folders, *weighting_modules(arm.weighting)]
    assert len(deps) <= NUM_DEPS, f"weighting {arm.weighting.name} has {len(deps)} dependencies of its own: raise NUM_DEPS"
    return RunConfig(name, seed, upstream, deps + [NOTHING] * (NUM_DEPS - len(deps)))


def needed_columns(arms: Mapping[str, ArmConfig], runs: Iterable[RunConfig]) -> dict[str, dict[str, ColumnConfig]]:
    """Per group of columns (see `Column`) the keys that these runs need; every group that some weighting knows is there. A
    package's weighting that cannot be had, and that no arm uses, knows none."""
    kinds = [weightings.kind(name) for name in weightings.names()]
    for name in weightings.foreign():
        with suppress(ConfigError):
            kinds.append(weightings.kind(name))
    known = {column.group for one in kinds for column in with_sources(one().needs.columns)}
    needed: dict[str, dict[str, ColumnConfig]] = {group: {} for group in sorted(known)}
    for run in runs:
        for column in with_sources(arms[run.arm].weighting.needs.columns):
            if column.group not in needed:
                subject = f"arms.{run.arm}: weighting {arms[run.arm].weighting.name} needs the column {column.name}"
                raise ConfigError(f"{subject} of {SCORES}/{column.group}, which no stage makes: there are {', '.join(needed)}")
            key = PurePosixPath(column.path(run.seed, run.upstream)).name
            needed[column.group][key] = ColumnConfig(column.seed(run.seed, run.upstream))
    return needed


def with_sources(columns: Iterable[Column]) -> Iterator[Column]:
    """Columns and those that they are made from, however far."""
    for column in columns:
        yield column
        yield from with_sources(column.made_from)


def weighting_modules(weighting: Weighting) -> list[str]:
    """Source files of wmtp's that the weighting's numbers depend on and not every run's: its own, and the formulas."""
    roots = [type(one).__module__ for one in with_inner(weighting)]
    found: set[str] = set()
    while roots:
        module = roots.pop()
        if module not in found:
            found.add(module)
            roots += _imports(module)
    return sorted(f"src/{module.replace('.', '/')}.py" for module in found if module.startswith("wmtp."))


def with_inner(weighting: Weighting) -> Iterator[Weighting]:
    """A weighting and those that it holds, however deep."""
    yield weighting
    for f in dataclasses.fields(weighting):
        value = getattr(weighting, f.name)
        if isinstance(value, Weighting):
            yield from with_inner(value)


_PACKAGE = Path(__file__).resolve().parents[1]
_OF_EVERY_RUN = ("wmtp.weightings.base", "wmtp.objectives.linear_nll", "wmtp.objectives.loss", "wmtp.objectives.shift")


def _imports(module: str) -> list[str]:
    """Modules of weightings and objectives that `module` imports, anywhere in it; those of every run left out."""
    tree = ast.parse(_file(module).read_text(encoding="utf-8"))
    named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return [name for name in named if name.startswith(("wmtp.weightings.", "wmtp.objectives.")) and name not in _OF_EVERY_RUN]


def _file(module: str) -> Path:
    """A module's source. wmtp's own is not looked up, which would import what its packages import."""
    if module.startswith("wmtp."):
        return _PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None, f"{module} was imported from somewhere"
    return Path(spec.origin)
