"""Compose base < profile < arms < overrides into one checked `Config`, and write or read it as params.yaml."""

from __future__ import annotations

import dataclasses
import os
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from wmtp.checks import NAME, require, require_seed
from wmtp.config import devices
from wmtp.config.arms import ArmOptions, ColumnConfig, RunConfig, load_arm, make_run, needed_columns
from wmtp.config.arms import plain as plain_tree
from wmtp.config.consistency import require_consistent
from wmtp.config.data import DataConfig
from wmtp.config.inputs import DownloadConfig, InputsConfig, compose_downloads, compose_inputs
from wmtp.config.schema import Config, LaunchConfig
from wmtp.config.strict import parse_yaml, reject_unknown, structured, type_of
from wmtp.config.unread import require_read
from wmtp.errors import ConfigError, first_line
from wmtp.files import write_text

SECTIONS = ("data", "tune_reference", "score", "train_critic", "train_policy", "evaluate", "report", "runtime")
_SECTION_TYPES = {key: typing.get_type_hints(Config)[key] for key in SECTIONS}


def compose(
    root: Path,
    profile: str,
    *,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    overrides: Sequence[str] = (),
) -> Config:
    """Resolve one experiment.

    Args:
        root: the workspace (holds `configs/`).
        profile: name of a file in `configs/profiles/`.
        arms, seeds: what to compare; the profile's own when None.
        overrides: `key=value`, OmegaConf dot list over the sections, `arms.<arm>.…`, or `arms=[a,b]`, `seeds=[0,1]` and
            `share_upstream=true`: all runs use the reference and the critic of the first seed. Each seed has its own otherwise.
    Raises:
        ConfigError: unknown key, profile or arm, wrong type or value, each with the nearest valid name.
    """
    configs = root / "configs"
    overlay = _dotlist(overrides)
    arms = _pop_list(overlay, "arms", str, arms)
    seeds = _pop_list(overlay, "seeds", int, seeds)
    profile_tree = _load(configs / "profiles", profile, "profile", Config)
    tree = OmegaConf.merge(_read_yaml(configs / "base.yaml", Config), profile_tree)
    assert isinstance(tree, DictConfig)
    arm_names = arms if arms is not None else _listed(tree, "arms", str)
    seed_list = seeds if seeds is not None else _listed(tree, "seeds", int)
    tree.pop("arms", None)
    tree.pop("seeds", None)
    is_shared = overlay.pop("share_upstream", tree.pop("share_upstream"))
    require(isinstance(is_shared, bool), "share_upstream", is_shared, "true or false")
    arm_overlay = overlay.pop("arms", OmegaConf.create({}))
    reject_unknown(overlay.keys(), SECTIONS, "override")
    _require_mappings(overlay)
    arm_trees = {name: _load(configs / "arms", name, "arm", ArmOptions) for name in arm_names}
    reject_unknown(arm_overlay.keys(), tuple(arm_trees), "arm in an override")
    _require_mappings(arm_overlay, "arms.")
    plain = _merged("", tree, overlay)
    _check_list(arm_names, "arms")
    _check_list(seed_list, "seeds")
    for seed in seed_list:
        require_seed("seeds", seed)
    plain["arms"] = {
        name: _merged(f"arms.{name}.", arm, arm_overlay.get(name, OmegaConf.create({}))) for name, arm in arm_trees.items()
    }
    plain["runs"] = {}
    chosen = [key for section in overlay for key in _leaves(overlay[section], str(section))]
    try:
        config = build(plain, profile=profile)
    except ConfigError as error:
        raise ConfigError(_with_cause(str(error), overlay, chosen)) from None
    _require_baseline(config.report.baseline_arm, configs / "arms", arm_names, is_chosen="report.baseline_arm" in chosen)
    require_read(config, chosen)
    upstream = {seed: seed_list[0] if is_shared else seed for seed in seed_list}
    runs = {f"{arm}-s{seed}": make_run(config.arms[arm], arm, seed, upstream[seed]) for arm in arm_names for seed in seed_list}
    columns = needed_columns(config.arms, runs.values())
    inputs = compose_inputs(config, columns)
    return dataclasses.replace(config, runs=runs, columns=columns, inputs=inputs, downloads=compose_downloads(config))


def _require_baseline(name: str, folder: Path, arms: Sequence[str], *, is_chosen: bool) -> None:
    """Raises ConfigError: it is no arm of the folder's, or an override names one that does not run."""
    known = [path.stem for path in folder.glob("*.yaml")]
    require(name in known, "report.baseline_arm", name, f"use one of {', '.join(sorted(known))}")
    compared = not is_chosen or name in arms
    require(compared, "report.baseline_arm", name, f"one of the arms that run: {', '.join(arms)}")


def _with_cause(said: str, overlay: DictConfig, chosen: Sequence[str]) -> str:
    """A refusal of a key that no override has, with the override that it is about: another key of its section, named in it."""
    refused = said.partition("=")[0]
    for key in chosen if refused not in chosen else ():
        given = f"{key}={OmegaConf.select(overlay, key)}"
        is_near = key.partition(".")[0] == refused.partition(".")[0]
        if is_near and given not in said and re.search(rf"\b{re.escape(key.rpartition('.')[2])}\b", said):
            return f"{said} (the override is {given})"
    return said


def build(plain: Mapping[str, Any], *, profile: str | None = None) -> Config:
    """A plain mapping (params.yaml's content) as a checked `Config`."""
    plain = dict(plain)
    profile = str(plain.pop("profile", profile or ""))
    reject_unknown(plain.keys(), (*SECTIONS, "arms", "columns", "downloads", "inputs", "runs"), "key")
    _check_names(plain, profile)
    sections: dict[str, Any] = {}
    for key, cls in _SECTION_TYPES.items():
        tree = plain.get(key)
        tree = {} if tree is None else tree
        if key == "evaluate" and isinstance(tree, Mapping) and tree.get("benchmark") is None:
            tree = {**tree, "benchmark": sections["data"].source}
        sections[key] = _section(cls, tree, key)
    sections["data"] = _with_tokenizer(sections)
    arms = {name: load_arm(value, name) for name, value in (plain.get("arms") or {}).items()}
    runs = {name: structured(RunConfig, value, f"runs.{name}") for name, value in (plain.get("runs") or {}).items()}
    for name, run in runs.items():
        if run.arm not in arms:
            raise ConfigError(f"runs.{name}.arm={run.arm!r} is not one of the arms {sorted(arms)}")
    columns = {
        group: {key: structured(ColumnConfig, value, f"columns.{group}.{key}") for key, value in (keys or {}).items()}
        for group, keys in (plain.get("columns") or {}).items()
    }
    downloads = {
        key: structured(DownloadConfig, value, f"downloads.{key}") for key, value in (plain.get("downloads") or {}).items()
    }
    inputs = structured(InputsConfig, plain.get("inputs") or {}, "inputs")
    config = Config(profile=profile, inputs=inputs, arms=arms, runs=runs, columns=columns, downloads=downloads, **sections)
    require_consistent(config)
    return config


def _section(cls: type, tree: Any, key: str) -> Any:
    """One section; errors of what several sections have (a model, an optimizer, the loop) name the section too."""
    try:
        return structured(cls, tree, key)
    except ConfigError as error:
        shared = str(error).startswith(("model.", "optim.", "train."))
        raise ConfigError(f"{key}.{error}" if shared else str(error)) from None


def _with_tokenizer(sections: Mapping[str, Any]) -> DataConfig:
    """The data's section; the tokenizer is the pretrained models' where none is named."""
    data: DataConfig = sections["data"]
    starts = [sections[name].model.pretrained for name in ("train_policy", "tune_reference", "train_critic")]
    path = data.tokenizer.path or next((start for start in starts if start is not None), None)
    return dataclasses.replace(data, tokenizer=dataclasses.replace(data.tokenizer, path=path))


def _check_names(plain: Mapping[str, Any], profile: str) -> None:
    """Names become stages and files: a shell reads them in dvc.yaml's commands, and a dot would divide a key."""
    groups = {group: plain.get(group) or {} for group in ("arms", "runs")}
    groups |= {f"columns.{group}": keys or {} for group, keys in (plain.get("columns") or {}).items()}
    given = [("profile", profile)] if profile else []
    given += [(group, str(name)) for group, names in groups.items() for name in names]
    for group, name in given:
        require(NAME.fullmatch(name) is not None, group, name, "a name of letters, digits, _ and - (rename its file)")


def _load(folder: Path, name: str, what: str, schema: type) -> DictConfig:
    known = [path.stem for path in sorted(folder.glob("*.yaml"))]
    reject_unknown([name], known, what)
    tree = _read_yaml(folder / f"{name}.yaml", schema)
    if not isinstance(tree, DictConfig):
        raise ConfigError(f"{folder / name}.yaml must hold a mapping")
    return tree


def _read_yaml(path: Path, schema: type) -> DictConfig | ListConfig:
    try:
        return typing.cast("DictConfig | ListConfig", OmegaConf.create(parse_yaml(path.read_text(encoding="utf-8"), schema)))
    except Exception as error:  # of YAML, of OmegaConf, of text that is no UTF-8, of Python's own depth
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f"line {mark.line + 1}: "
        raise ConfigError(f"{path} is not valid YAML: {line}{getattr(error, 'problem', None) or first_line(error)}") from None


def _dotlist(overrides: Sequence[str]) -> DictConfig:
    tree, seen = OmegaConf.create({}), dict[str, str]()
    for item in overrides:
        key, is_one, value = item.partition("=")
        if not is_one:
            raise ConfigError(f"override {item!r} is not of the form key=value")
        if key in seen:
            raise ConfigError(f"{key} is given twice: {seen[key]} and {item}")
        seen[key] = item
        try:
            OmegaConf.update(tree, key, parse_yaml(value, type_of(Config, key.split("."))))
        except Exception as error:  # of YAML, of OmegaConf
            raise ConfigError(f"override {item!r}: {first_line(error)}") from None
    return tree


def _pop_list(overlay: DictConfig, key: str, kind: type, given: Sequence[Any] | None) -> Sequence[Any] | None:
    """`arms=[…]` and `seeds=[…]` among the overrides replace the profile's list; `arms.rho1.x=…` stays an override."""
    if key not in overlay or OmegaConf.is_dict(overlay[key]):
        return given
    found = _listed(overlay, key, kind)
    if given is not None and list(given) != found:
        raise ConfigError(f"{key} is given twice: as {key}={overlay[key]} and as {list(given)}")
    overlay.pop(key)
    return found


def _listed(tree: DictConfig, key: str, kind: type) -> Sequence[Any]:
    value = tree[key]
    if not OmegaConf.is_list(value) or not all(type(item) is kind for item in value):  # a truth value is an int, too
        example = "0,1" if kind is int else "baseline,rho1"
        raise ConfigError(f"{key}={value} is not a list of {kind.__name__}, e.g. {key}=[{example}]")
    return list(value)


def _merged(prefix: str, *trees: Any) -> dict[str, Any]:
    """As one plain mapping, references resolved; `prefix`: what its keys are below."""
    try:
        found = OmegaConf.to_container(OmegaConf.merge(*trees), resolve=True)
    except Exception as error:  # of OmegaConf: a reference to nothing, a section that is a number
        key = f"{prefix}{getattr(error, 'full_key', None) or ''}".rstrip(".") or "the configuration"
        raise ConfigError(f"{key}: {first_line(getattr(error, 'msg', None) or error)}") from None
    require(isinstance(found, dict), prefix.rstrip("."), found, "a mapping")
    return typing.cast("dict[str, Any]", found)


def _require_mappings(overlay: DictConfig, prefix: str = "") -> None:
    """Raises ConfigError: a section or an arm itself is overridden."""
    for key, value in overlay.items():
        require(OmegaConf.is_dict(value), prefix + str(key), value, "a mapping: an override names a key of it")


def _leaves(tree: Any, prefix: str) -> Iterator[str]:
    """The dotted keys of single values and lists."""
    if not OmegaConf.is_dict(tree):
        yield prefix
        return
    for key, value in tree.items_ex(resolve=False):
        yield from _leaves(value, f"{prefix}.{key}")


def _check_list(values: Sequence[Any], key: str) -> None:
    if not values or len(set(values)) != len(values):
        raise ConfigError(f"{key}={list(values)} must name at least one, each once")


# --------------------------------------------------------------------------------------- params.yaml


def to_plain(config: Config) -> dict[str, Any]:
    """The fully resolved content of params.yaml, sorted."""
    return typing.cast("dict[str, Any]", _sorted(plain_tree(config)))


def _sorted(value: Any) -> Any:
    return {k: _sorted(value[k]) for k in sorted(value)} if isinstance(value, dict) else value


_dumped: list[tuple[Config, str]] = []
"""The one that was written out last: a command that does nothing else asks four times."""


def dump(config: Config) -> str:
    """params.yaml's text."""
    for known, text in tuple(_dumped):
        if known is config:
            return text
    text = _text(config)
    _dumped[:] = [(config, text)]
    return text


def _text(config: Config) -> str:
    head = (
        f"# Resolved by `wmtp params --profile {config.profile}` from configs/base.yaml,\n"
        f"# configs/profiles/{config.profile}.yaml, "
        f"configs/arms/ ({', '.join(config.arms)}) and the overrides given. Compose again rather than edit.\n"
    )
    return head + OmegaConf.to_yaml(OmegaConf.create(to_plain(config)))


def says(path: Path, config: Config) -> bool:
    """Whether a params.yaml holds this experiment, however it is written (`dvc exp run -S` writes it anew).

    It has every key: DVC knows no defaults, so one that an older version of wmtp left out is not the same.
    """
    try:
        return path.read_text(encoding="utf-8") == dump(config) or _read_plain(path) == to_plain(config)
    except (FileNotFoundError, ConfigError):
        return False


def write_params(config: Config, path: Path) -> bool:
    """Write params.yaml atomically; False when it already says the same."""
    if says(path, config):
        return False
    write_text(path, dump(config))
    return True


def read_params(path: Path) -> Config:
    """params.yaml as a checked `Config`.

    Raises:
        ConfigError: missing file, bad YAML, or anything `build` refuses.
    """
    if not path.exists():
        is_workspace = (path.parent / "dvc.yaml").exists()
        mend = "make it with `wmtp params --profile demo`" if is_workspace else f"{path.parent} is no wmtp workspace"
        raise ConfigError(f"{path} does not exist: {mend}")
    return build(_read_plain(path))


def _read_plain(path: Path) -> dict[str, Any]:
    tree = _read_yaml(path, Config)
    try:
        plain = OmegaConf.to_container(tree, resolve=True)
    except Exception as error:
        raise ConfigError(f"{path}: {first_line(error)}") from None
    if not isinstance(plain, dict):
        raise ConfigError(f"{path} must hold a mapping")
    return typing.cast("dict[str, Any]", plain)


def load_launch(root: Path) -> LaunchConfig:
    """`configs/launch/$WMTP_LAUNCH.yaml` (default `local`), then `WMTP_NPROC`, `WMTP_SLOTS`, `MLFLOW_TRACKING_URI`.

    Raises:
        ConfigError: a file that is not there, values out of their range, what this machine's GPUs do not suffice for.
    """
    tree = _load(root / "configs" / "launch", os.environ.get("WMTP_LAUNCH", "local"), "launch configuration", LaunchConfig)
    for variable, key in (("WMTP_NPROC", "nproc_per_node"), ("WMTP_SLOTS", "slots"), ("MLFLOW_TRACKING_URI", "tracking_uri")):
        if variable in os.environ:
            tree[key] = os.environ[variable]
    devices.resolve(tree)
    return devices.settled(typing.cast(LaunchConfig, structured(LaunchConfig, tree, "launch")))
