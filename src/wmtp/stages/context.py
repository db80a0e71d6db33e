"""What a stage is given: where its inputs are, where to write, who it is among the ranks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wmtp.config.runtime import RuntimeConfig

if TYPE_CHECKING:
    from wmtp.config import LaunchConfig
    from wmtp.tracking import Tracker


@dataclass(frozen=True)
class StageContext:
    """One stage's surroundings, the same on every rank but for `rank`.

    Outputs are written under `out(path)`: temporary siblings that the launcher renames to their final names once
    every rank has ended well.
    """

    name: str
    root: Path
    outputs: dict[str, Path]
    resume: Path
    fingerprint: str
    launch: LaunchConfig
    tracker: Tracker
    rank: int = 0
    world_size: int = 1
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    @property
    def stage(self) -> str:
        """`train_policy` of `train_policy@rho1-s0`."""
        return self.name.partition("@")[0]

    @property
    def run(self) -> str:
        """`rho1-s0` of `train_policy@rho1-s0`; empty for a stage that exists once."""
        return self.name.partition("@")[2]

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def tokenizer(self) -> Path:
        """The folder of the one that the data is made with."""
        return self.input("artifacts/data/tokenizer")

    def input(self, path: str) -> Path:
        """A dependency, by its path in dvc.yaml."""
        return self.root / path

    def out(self, path: str) -> Path:
        """The temporary folder that becomes the output `path` of dvc.yaml."""
        return self.outputs[path]
