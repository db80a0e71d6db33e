"""Resumable training state on disk: sharded, atomic, checked.

A checkpoint is a folder `step-00000100` written by torch.distributed.checkpoint under a temporary name and renamed once
every rank is done. `complete.json` lists every file with its size, so that a truncated one is found.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.stateful import Stateful

from wmtp.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wmtp.distributed import World

_MARK = "complete.json"


class TrainState(Stateful):
    """Model and optimizers, sharded as they are, for torch.distributed.checkpoint."""

    def __init__(self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.model, self.optimizers = model, list(optimizers)

    def state_dict(self) -> dict[str, Any]:
        model, optimizers = get_state_dict(self.model, self.optimizers)
        return {"model": model, "optimizers": optimizers}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        set_state_dict(
            self.model, self.optimizers, model_state_dict=state_dict["model"], optim_state_dict=state_dict["optimizers"]
        )


class Checkpointer:
    """Writes, finds and reads the checkpoints of one stage run.

    Args:
        folder: of this stage and fingerprint; created when needed.
        keep: how many of the newest checkpoints stay.
    """

    def __init__(self, folder: Path, world: World, *, keep: int = 2) -> None:
        self.folder, self.world, self.keep = folder, world, keep

    def save(self, step: int, state: TrainState, progress: dict[str, Any]) -> None:
        """Write `step`'s checkpoint, all ranks together.

        Args:
            progress: plain data of rank 0 (step, tokens seen, history so far).
        Raises:
            CheckpointError: the disk is full or cannot be written; nothing is left under the final name.
        """
        final = self.folder / f"step-{step:08d}"
        temporary = self.folder / f".{final.name}.tmp"
        if self.world.is_main:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        self.world.barrier()
        try:
            dcp.save({"train": state}, checkpoint_id=temporary, no_dist=False)
            torch.save(torch.get_rng_state(), temporary / f"rng-{self.world.rank}.pt")
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"checkpoint of step {step} could not be written to {self.folder}: {error}") from error
        self.world.barrier()
        if self.world.is_main:
            files = {path.name: path.stat().st_size for path in sorted(temporary.iterdir())}
            mark = {"step": step, "world_size": self.world.size, "files": files, "progress": progress}
            _write_synced(temporary / _MARK, json.dumps(mark))
            shutil.rmtree(final, ignore_errors=True)
            os.rename(temporary, final)
            for old in self._steps()[: -self.keep]:
                shutil.rmtree(old, ignore_errors=True)
        self.world.barrier()

    def load_newest(self, state: TrainState) -> dict[str, Any] | None:
        """Restore the newest complete checkpoint into `state`.

        Returns:
            its `progress`, or None when there is no usable checkpoint. Damaged ones are reported and passed over.
        """
        found: list[Any] = [None]
        if self.world.is_main:
            for folder in reversed(self._steps()):
                mark = _intact(folder)
                if mark is not None:
                    found = [(str(folder), mark)]
                    break
                print(f"checkpoint {folder.name} is damaged: using the one before it", flush=True)
        found = self.world.gather_objects(found[0])
        if found[0] is None:
            return None
        folder, mark = Path(found[0][0]), found[0][1]
        dcp.load({"train": state}, checkpoint_id=folder)
        rng = folder / f"rng-{self.world.rank}.pt"
        if mark["world_size"] == self.world.size:
            torch.set_rng_state(torch.load(rng))
        progress: dict[str, Any] = mark["progress"]
        return progress

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _intact(folder: Path) -> dict[str, Any] | None:
    """The mark of a complete checkpoint, or None."""
    try:
        mark: dict[str, Any] = json.loads((folder / _MARK).read_text(encoding="utf-8"))
        sizes_match = all((folder / name).stat().st_size == size for name, size in mark["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return mark if sizes_match else None


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
