"""Compose base < profile < arms < overrides into one checked `Config`, and write or read it as params.yaml."""

from __future__ import annotations

import dataclasses
import difflib
import os
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

from wmtp.checks import require
from wmtp.config.schema import ArmConfig, Config, InputsConfig, LaunchConfig, RunConfig
from wmtp.config.weightings import NEEDS_REFERENCE, NEEDS_VALUE, WEIGHTINGS
from wmtp.errors import ConfigError
from wmtp.files import write_text

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
    tree = OmegaConf.merge(OmegaConf.load(configs / "base.yaml"), profile_tree)
    assert isinstance(tree, DictConfig)
    arm_names = list(arms if arms is not None else tree.pop("arms"))
    seed_list = list(seeds if seeds is not None else tree.pop("seeds"))
    tree.pop("arms", None)
    tree.pop("seeds", None)
    arm_overlay = overlay.pop("arms", OmegaConf.create({}))
    _reject_unknown(overlay.keys(), SECTIONS, "override")
    arm_trees = {name: _load(configs / "arms", name, "arm") for name in arm_names}
    _reject_unknown(arm_overlay.keys(), tuple(arm_trees), "arm in an override")
    plain = OmegaConf.to_container(OmegaConf.merge(tree, overlay), resolve=True)
    assert isinstance(plain, dict)
    _check_list(arm_names, "arms")
    _check_list(seed_list, "seeds")
    plain["arms"] = {
        name: OmegaConf.to_container(OmegaConf.merge(arm, arm_overlay.get(name, {}))) for name, arm in arm_trees.items()
    }
    plain["runs"] = {}
    config = build(typing.cast("dict[str, Any]", plain), profile=profile)
    runs = {f"{arm}-s{seed}": _run(config.arms[arm], arm, seed) for arm in arm_names for seed in seed_list}
    return dataclasses.replace(config, runs=runs, inputs=_inputs(config, runs.values()))


def _inputs(config: Config, runs: Iterable[RunConfig]) -> InputsConfig:
    """The data files, where the source reads any, and the training records of the models that some arm needs."""
    default, data = InputsConfig(), config.data
    runs = list(runs)
    needs_value = any(run.value_scores != "artifacts/data" for run in runs)
    needs_reference = needs_value or any(run.reference_scores != "artifacts/data" for run in runs)
    return InputsConfig(
        train=data.train_path or default.train,
        validation=data.validation_path or default.validation,
        reference_training="artifacts/tuning/reference" if needs_reference else default.reference_training,
        critic_training="artifacts/tuning/critic" if needs_value else default.critic_training,
    )


def _run(arm: ArmConfig, name: str, seed: int) -> RunConfig:
    kind = arm.weighting["name"]
    return RunConfig(
        arm=name,
        seed=seed,
        reference_scores="artifacts/scores/reference" if kind in NEEDS_REFERENCE else "artifacts/data",
        value_scores="artifacts/scores/value" if kind in NEEDS_VALUE else "artifacts/data",
    )


def build(plain: Mapping[str, Any], *, profile: str | None = None) -> Config:
    """A plain mapping (params.yaml's content) as a checked `Config`."""
    plain = dict(plain)
    profile = str(plain.pop("profile", profile or ""))
    _reject_unknown(plain.keys(), (*SECTIONS, "arms", "inputs", "runs"), "key")
    sections: dict[str, Any] = {}
    for key, cls in _SECTION_TYPES.items():
        tree = plain.get(key) or {}
        if key == "evaluate" and isinstance(tree, Mapping) and tree.get("benchmark") is None:
            tree = {**tree, "benchmark": sections["data"].source}
        sections[key] = structured(cls, tree, key)
    arms = {
        name: structured(ArmConfig, _check_weighting(value, name), f"arms.{name}")
        for name, value in (plain.get("arms") or {}).items()
    }
    runs = {name: structured(RunConfig, value, f"runs.{name}") for name, value in (plain.get("runs") or {}).items()}
    for name, run in runs.items():
        if run.arm not in arms:
            raise ConfigError(f"runs.{name}.arm={run.arm!r} is not one of the arms {sorted(arms)}")
    inputs = structured(InputsConfig, plain.get("inputs") or {}, "inputs")
    config = Config(profile=profile, inputs=inputs, arms=arms, runs=runs, **sections)
    _check_heads(config)
    _check_benchmark(config)
    return config


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


def structured(cls: type, tree: Any, where: str) -> Any:
    """`tree` as an instance of dataclass `cls`; unknown keys and wrong types raise ConfigError naming `where`."""
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


def weighting(arm: ArmConfig) -> Any:
    """The arm's weighting as its own typed dataclass (see `WEIGHTINGS`)."""
    keys = dict(arm.weighting)
    return structured(WEIGHTINGS[keys.pop("name")], keys, "weighting")


def _check_weighting(arm: Any, where: str) -> Any:
    """Fill in and check `weighting`, whose type depends on its name."""
    tree = dict(arm)
    keys = tree.get("weighting")
    if not isinstance(keys, Mapping) or "name" not in keys:
        raise ConfigError(f"arms.{where}.weighting needs a name: one of {', '.join(WEIGHTINGS)}")
    name = keys["name"]
    _reject_unknown([name], tuple(WEIGHTINGS), "weighting")
    typed = structured(WEIGHTINGS[name], {k: v for k, v in keys.items() if k != "name"}, f"arms.{where}.weighting")
    tree["weighting"] = {"name": name, **dataclasses.asdict(typed)}
    return tree


def nearest(name: str, known: Iterable[str]) -> str:
    """`: did you mean X?` or the list of what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    return f": did you mean {close[0]}?" if close else f": known are {', '.join(known)}"


def _reject_unknown(names: Iterable[Any], known: Sequence[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown {what} {name!r}{nearest(name, known)}")


def _known_keys(cls: type, path: Sequence[str]) -> list[str]:
    for part in path:
        cls = typing.get_type_hints(cls).get(part, cls)
    return [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def _load(folder: Path, name: str, what: str) -> DictConfig:
    known = [path.stem for path in sorted(folder.glob("*.yaml"))]
    _reject_unknown([name], known, what)
    tree = OmegaConf.load(folder / f"{name}.yaml")
    assert isinstance(tree, DictConfig)
    return tree


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
    return _sorted(dataclasses.asdict(config))


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


def write_params(config: Config, path: Path) -> bool:
    """Write params.yaml atomically; False when it already says the same."""
    text = dump(config)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def read_params(path: Path) -> Config:
    """params.yaml as a checked `Config`.

    Raises:
        ConfigError: missing file, bad YAML, or anything `build` refuses.
    """
    if not path.exists():
        raise ConfigError(f"{path} does not exist: make it with `wmtp params --profile demo`")
    try:
        plain = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except Exception as error:
        raise ConfigError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(plain, dict):
        raise ConfigError(f"{path} must hold a mapping")
    return build(typing.cast("dict[str, Any]", plain))


def load_launch(root: Path) -> LaunchConfig:
    """`configs/launch/$WMTP_LAUNCH.yaml` (default `local`), then `WMTP_NPROC`, `WMTP_SLOTS`, `MLFLOW_TRACKING_URI`."""
    tree = _load(root / "configs" / "launch", os.environ.get("WMTP_LAUNCH", "local"), "launch configuration")
    for variable, key in (("WMTP_NPROC", "nproc_per_node"), ("WMTP_SLOTS", "slots"), ("MLFLOW_TRACKING_URI", "tracking_uri")):
        if variable in os.environ:
            tree[key] = os.environ[variable]
    return typing.cast(LaunchConfig, structured(LaunchConfig, tree, "launch"))
