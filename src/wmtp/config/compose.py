"""Compose base < profile < arms < overrides into one checked `Config`, and write or read it as params.yaml."""

from __future__ import annotations

import dataclasses
import os
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from wmtp.checks import require
from wmtp.config.arms import ColumnConfig, RunConfig, load_arm, make_run, needed_columns
from wmtp.config.arms import plain as plain_tree
from wmtp.config.data import DataConfig
from wmtp.config.inputs import DownloadConfig, InputsConfig, compose_downloads, compose_inputs
from wmtp.config.schema import Config, LaunchConfig
from wmtp.config.strict import reject_unknown, structured
from wmtp.errors import ConfigError
from wmtp.files import write_text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

SECTIONS = ("data", "tune_reference", "score", "train_critic", "train_policy", "evaluate", "report")
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
        overrides: `key=value`, OmegaConf dot list over the sections, `arms.<arm>.…`, or `arms=[a,b]` and `seeds=[0,1]`.
    Raises:
        ConfigError: unknown key, profile or arm, wrong type or value, each with the nearest valid name.
    """
    configs = root / "configs"
    overlay = _dotlist(overrides)
    arms = _pop_list(overlay, "arms", str, arms)
    seeds = _pop_list(overlay, "seeds", int, seeds)
    profile_tree = _load(configs / "profiles", profile, "profile")
    tree = OmegaConf.merge(_read_yaml(configs / "base.yaml"), profile_tree)
    assert isinstance(tree, DictConfig)
    arm_names = list(arms if arms is not None else tree.pop("arms"))
    seed_list = list(seeds if seeds is not None else tree.pop("seeds"))
    tree.pop("arms", None)
    tree.pop("seeds", None)
    arm_overlay = overlay.pop("arms", OmegaConf.create({}))
    reject_unknown(overlay.keys(), SECTIONS, "override")
    arm_trees = {name: _load(configs / "arms", name, "arm") for name in arm_names}
    reject_unknown(arm_overlay.keys(), tuple(arm_trees), "arm in an override")
    plain = OmegaConf.to_container(OmegaConf.merge(tree, overlay), resolve=True)
    assert isinstance(plain, dict)
    _check_list(arm_names, "arms")
    _check_list(seed_list, "seeds")
    require(min(seed_list) >= 0, "seeds", seed_list, "0 or more, each of them")
    plain["arms"] = {
        name: OmegaConf.to_container(OmegaConf.merge(arm, arm_overlay.get(name, {}))) for name, arm in arm_trees.items()
    }
    plain["runs"] = {}
    config = build(typing.cast("dict[str, Any]", plain), profile=profile)
    runs = {f"{arm}-s{seed}": make_run(config.arms[arm], arm, seed) for arm in arm_names for seed in seed_list}
    columns = needed_columns(config.arms, runs.values())
    inputs = compose_inputs(config, runs.values())
    return dataclasses.replace(config, runs=runs, columns=columns, inputs=inputs, downloads=compose_downloads(config))


def build(plain: Mapping[str, Any], *, profile: str | None = None) -> Config:
    """A plain mapping (params.yaml's content) as a checked `Config`."""
    plain = dict(plain)
    profile = str(plain.pop("profile", profile or ""))
    reject_unknown(plain.keys(), (*SECTIONS, "arms", "columns", "downloads", "inputs", "runs"), "key")
    _check_names(plain, profile)
    sections: dict[str, Any] = {}
    for key, cls in _SECTION_TYPES.items():
        tree = plain.get(key) or {}
        if key == "evaluate" and isinstance(tree, Mapping) and tree.get("benchmark") is None:
            tree = {**tree, "benchmark": sections["data"].source}
        sections[key] = structured(cls, tree, key)
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
    _check_heads(config)
    _check_benchmark(config)
    return config


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
        require(_NAME.fullmatch(name) is not None, group, name, "a name of letters, digits, _ and - (rename its file)")


def _check_heads(config: Config) -> None:
    """A head that looks past the longest example would never have a target."""
    longest, shared = config.data.max_length, config.train_policy.model.n_future
    heads = {"train_policy.model.n_future": shared}
    heads |= {f"arms.{name}.n_future": arm.n_future for name, arm in config.arms.items() if arm.n_future is not None}
    for key, n_future in heads.items():
        require(n_future < longest, key, n_future, f"less than data.max_length={longest}")


def _check_benchmark(config: Config) -> None:
    """Test problems are the source's, so they are asked and judged by its conventions."""
    source, benchmark = config.data.source, config.evaluate.benchmark
    rule = f"the test problems are data.source={source}'s, so use {source}, or null for the same"
    require(benchmark == source, "evaluate.benchmark", benchmark, rule)


def _load(folder: Path, name: str, what: str) -> DictConfig:
    known = [path.stem for path in sorted(folder.glob("*.yaml"))]
    reject_unknown([name], known, what)
    tree = _read_yaml(folder / f"{name}.yaml")
    if not isinstance(tree, DictConfig):
        raise ConfigError(f"{folder / name}.yaml must hold a mapping")
    return tree


def _read_yaml(path: Path) -> DictConfig | ListConfig:
    try:
        return OmegaConf.load(path)
    except Exception as error:  # of YAML, of OmegaConf, of text that is no UTF-8, of Python's own depth
        raise ConfigError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from None


def _dotlist(overrides: Sequence[str]) -> DictConfig:
    for item in overrides:
        if "=" not in item:
            raise ConfigError(f"override {item!r} is not of the form key=value")
    try:
        return OmegaConf.from_dotlist(list(overrides))
    except Exception as error:
        raise ConfigError(f"overrides {list(overrides)}: {error}") from None


def _pop_list(overlay: DictConfig, key: str, kind: type, given: Sequence[Any] | None) -> Sequence[Any] | None:
    """`arms=[…]` and `seeds=[…]` among the overrides replace the profile's list; `arms.rho1.x=…` stays an override."""
    if key not in overlay or OmegaConf.is_dict(overlay[key]):
        return given
    value = overlay.pop(key)
    if not OmegaConf.is_list(value) or not all(isinstance(item, kind) for item in value):
        raise ConfigError(
            f"{key}={value} is not a list of {kind.__name__}, e.g. {key}=[{'0,1' if kind is int else 'baseline,rho1'}]"
        )
    return list(value)


def _check_list(values: Sequence[Any], key: str) -> None:
    if not values or len(set(values)) != len(values):
        raise ConfigError(f"{key}={list(values)} must name at least one, each once")


# --------------------------------------------------------------------------------------- params.yaml


def to_plain(config: Config) -> dict[str, Any]:
    """The fully resolved content of params.yaml, sorted."""
    return typing.cast("dict[str, Any]", _sorted(plain_tree(config)))


def _sorted(value: Any) -> Any:
    return {k: _sorted(value[k]) for k in sorted(value)} if isinstance(value, dict) else value


def dump(config: Config) -> str:
    """params.yaml's text."""
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
        raise ConfigError(f"{path} does not exist: make it with `wmtp params --profile demo`")
    return build(_read_plain(path))


def _read_plain(path: Path) -> dict[str, Any]:
    tree = _read_yaml(path)
    try:
        plain = OmegaConf.to_container(tree, resolve=True)
    except Exception as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from None
    if not isinstance(plain, dict):
        raise ConfigError(f"{path} must hold a mapping")
    return typing.cast("dict[str, Any]", plain)


def load_launch(root: Path) -> LaunchConfig:
    """`configs/launch/$WMTP_LAUNCH.yaml` (default `local`), then `WMTP_NPROC`, `WMTP_SLOTS`, `MLFLOW_TRACKING_URI`."""
    tree = _load(root / "configs" / "launch", os.environ.get("WMTP_LAUNCH", "local"), "launch configuration")
    for variable, key in (("WMTP_NPROC", "nproc_per_node"), ("WMTP_SLOTS", "slots"), ("MLFLOW_TRACKING_URI", "tracking_uri")):
        if variable in os.environ:
            tree[key] = os.environ[variable]
    return typing.cast(LaunchConfig, structured(LaunchConfig, tree, "launch"))
