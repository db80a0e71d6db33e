"""What the UI's form offers: names found in configs/, dvc.yaml and params.yaml when the flow is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

TARGET = "report"
"""The stage that a run comes to where no other is chosen."""
CHOSEN = "only"
"""In `force`: the stage chosen in `only`."""

_ROOT = Path(__file__).resolve().parents[1]


def profile_names(root: Path = _ROOT) -> tuple[str, ...]:
    return _stems(root / "configs" / "profiles")


def arm_names(root: Path = _ROOT) -> tuple[str, ...]:
    return _stems(root / "configs" / "arms")


def stage_names(root: Path = _ROOT, params: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Every stage of dvc.yaml, and every member of a group, by the keys of its mapping in `params` (those of params.yaml)."""
    stages = OmegaConf.to_container(_mapping(root / "dvc.yaml"), resolve=False)
    assert isinstance(stages, dict)
    known = _mapping(root / "params.yaml") if params is None else OmegaConf.create(dict(params))
    names: list[str] = []
    for name, stage in stages.get("stages", {}).items():
        names.append(name)
        if "foreach" in stage:
            names += [f"{name}@{key}" for key in OmegaConf.select(known, stage["foreach"].strip("${}")) or {}]
    return tuple(names)


def _stems(folder: Path) -> tuple[str, ...]:
    return tuple(path.stem for path in sorted(folder.glob("*.yaml")))


def _mapping(path: Path) -> DictConfig:
    loaded = OmegaConf.load(path) if path.exists() else OmegaConf.create({})
    assert isinstance(loaded, DictConfig)
    return loaded
