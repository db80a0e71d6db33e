"""The pipeline as DVC has it: dvc.yaml is its only definition. DVC is imported inside the functions (0.3 s)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmtp.config.compose import nearest
from wmtp.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

PARAMS = "params.yaml"


@dataclass(frozen=True)
class StageSpec:
    """A stage of dvc.yaml, interpolated, with the hashes that its dependencies and parameters have now."""

    name: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]
    inputs: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the stage's result."""
        return hashlib.sha256(json.dumps(self.inputs, sort_keys=True).encode()).hexdigest()

    def changed(self, other: StageSpec) -> list[str]:
        """Names of the inputs in which the two differ."""
        names = self.inputs.keys() | other.inputs.keys()
        return sorted(name for name in names if self.inputs.get(name) != other.inputs.get(name))


def find_root(start: Path | None = None) -> Path:
    """The workspace: the nearest folder upwards with dvc.yaml and configs/.

    Raises:
        ConfigError: there is none.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "configs").is_dir():
            return folder
    raise ConfigError(f"{here} is not inside a wmtp workspace (a folder with dvc.yaml and configs/)")


def read_spec(root: Path, name: str) -> StageSpec:
    """One stage, with DVC's own hashes of its inputs (DVC remembers them by inode, size and time).

    Raises:
        ConfigError: no such stage, a dvc.yaml or params.yaml that DVC cannot read, or an input that does not exist.
    """
    from dvc.dependency.param import ParamsDependency
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            stages = {stage.addressing: stage for stage in repo.index.stages}
            if name not in stages:
                raise ConfigError(f"unknown stage {name!r}{nearest(name, stages)}")
            stage = stages[name]
            plain = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
            params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
            _require_inputs(name, plain)
            inputs = {str(dep.def_path): str(dep.get_hash().value) for dep in plain}
            for dep in params:
                inputs |= {f"params:{key}": json.dumps(value, sort_keys=True) for key, value in _values(dep).items()}
            return StageSpec(
                name=name,
                deps=tuple(sorted({str(dep.def_path) for dep in plain})),
                params=tuple(sorted(str(key) for dep in params for key in dep.params)),
                outs=tuple(str(out.def_path) for out in stage.outs),
                inputs=inputs,
            )
    except DvcException as error:
        raise ConfigError(f"DVC cannot read the pipeline: {error}") from error


def _require_inputs(name: str, deps: Iterable[Any]) -> None:
    missing = sorted({str(dep.def_path) for dep in deps if not dep.exists})
    if missing:
        raise ConfigError(f"{name} needs {', '.join(missing)}, which does not exist: `dvc repro {name}` makes what stages make")


def _values(dep: Any) -> dict[str, Any]:
    """The tracked keys' values; a key that params.yaml lacks is an error, as it is for `dvc repro`."""
    values: dict[str, Any] = dep.read_params(flatten=True)
    missing = [key for key in dep.params if key not in values]
    if missing:
        raise ConfigError(f"params.yaml lacks {', '.join(missing)}, which dvc.yaml names: compose it again with `wmtp params`")
    return values
