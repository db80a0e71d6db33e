"""What the UI's form offers: names found in configs/, dvc.yaml and params.yaml when the flow is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

_ROOT = Path(__file__).resolve().parents[1]


def profile_names(root: Path = _ROOT) -> tuple[str, ...]:
    return _stems(root / "configs" / "profiles")


def arm_names(root: Path = _ROOT) -> tuple[str, ...]:
    return _stems(root / "configs" / "arms")


def stage_names(root: Path = _ROOT, runs: Iterable[str] | None = None) -> tuple[str, ...]:
    """Every stage of dvc.yaml; one that exists per run also by each run's name (by default, as params.yaml has them now)."""
    stages = _mapping(root / "dvc.yaml").get("stages", {})
    runs = list(_mapping(root / "params.yaml").get("runs", {}) if runs is None else runs)
    names: list[str] = []
    for name, stage in stages.items():
        names.append(str(name))
        if "foreach" in stage:
            names += [f"{name}@{run}" for run in runs]
    return tuple(names)


def _stems(folder: Path) -> tuple[str, ...]:
    return tuple(path.stem for path in sorted(folder.glob("*.yaml")))


def _mapping(path: Path) -> DictConfig:
    loaded = OmegaConf.load(path) if path.exists() else OmegaConf.create({})
    assert isinstance(loaded, DictConfig)
    return loaded
