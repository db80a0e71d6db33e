"""What a launcher tells the processes of a stage: one record, through one environment variable."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmtp.config import LaunchConfig
from wmtp.errors import LaunchError

ENVIRONMENT = "WMTP_ASSIGNMENT"
"""The variable that holds the record as JSON, for ranks and nodes' agents alike."""

HOST = "host.json"


@dataclass(frozen=True)
class Assignment:
    """One stage's work, the same for all its processes.

    Attributes:
        name: as in dvc.yaml, `train_policy@rho1-s0`.
        root: the workspace.
        folder: of this launch: holds `params.yaml` as the launcher checked it, whatever happens to the workspace's own;
            takes the ranks' errors, what rank 0 says of its machine (`HOST`), and the nodes' meeting place.
        declared: dotted keys of the configuration that the stage may read.
        outputs: path in dvc.yaml -> folder to write to.
        resume: folder of what an interrupted attempt left, and of what this one leaves.
        fingerprint: hash of everything that decides the result.
        journal: where rank 0 writes what MLflow shall know.
        owner: the process (see `processes.identity`) whose death ends the receiver.
        launch: how the stage is run.
    """

    name: str
    root: Path
    folder: Path
    declared: tuple[str, ...]
    outputs: dict[str, Path]
    resume: Path
    fingerprint: str
    journal: Path
    owner: str
    launch: LaunchConfig

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Assignment:
        """The inverse of `to_json`.

        Raises:
            LaunchError: the fields are not those of this version: launcher and processes run different code.
        """
        given: dict[str, Any] = json.loads(text)
        names = {field.name for field in dataclasses.fields(cls)}
        if given.keys() != names:
            raise LaunchError(
                f"{ENVIRONMENT} has other fields ({', '.join(sorted(given.keys() ^ names))}) than this version of wmtp knows: "
                f"do all nodes run the same code?"
            )
        paths = {name: Path(given[name]) for name in ("root", "folder", "resume", "journal")}
        outputs = {out: Path(path) for out, path in given["outputs"].items()}
        launch = LaunchConfig(**given["launch"])
        return cls(**{**given, **paths, "declared": tuple(given["declared"]), "outputs": outputs, "launch": launch})
