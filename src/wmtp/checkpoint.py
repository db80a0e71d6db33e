"""Resumable training state on disk: sharded, atomic, checked.

A checkpoint is a folder `step-00000100` written by torch.distributed.checkpoint, while training goes on, under a temporary
name, and renamed once every rank is done. `complete.json` lists every file with its size, so that a truncated one is found.
Beside the tensors it holds where each rank's random generators were.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.stateful import Stateful

from wmtp.distributed import generator_states, restore_generators, seed_everything
from wmtp.errors import CheckpointError
from wmtp.files import sync, temporary_sibling, write_text

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

    Writing goes on while training does: `save` copies the state and returns, `poll` gives the checkpoint its final name
    once every rank's part is on disk. All methods are called by all ranks together. A context: when it is left, the
    checkpoint that is being written is completed, also by an error, which it never hides.

    Args:
        folder: of this stage and fingerprint; created when needed.
        keep: how many of the newest checkpoints stay (the best one stays besides).
    """

    def __init__(self, folder: Path, world: World, *, keep: int = 2) -> None:
        self.folder, self.world, self.keep = folder, world, keep
        self._group = dist.new_group(backend="gloo")  # training's own collectives must not meet the writer's
        self._pending: _Pending | None = None

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self.wait()
            return
        try:
            self._complete_alone()
        except CheckpointError as second:
            print(f"{second} (this came after {kind.__name__}: {error})", flush=True)

    def save(self, step: int, state: TrainState, progress: dict[str, Any], *, best: int | None = None) -> None:
        """Start to write `step`'s checkpoint, after the one before it is complete.

        Args:
            progress: plain data of rank 0 (step, tokens seen, history so far).
            best: the step of a checkpoint that stays however old it gets.
        Raises:
            CheckpointError: the disk is full or cannot be written; nothing is left under the final name.
        """
        self.wait()
        temporary = _unfinished(self.folder / _name(step))
        if self.world.is_main:
            with _explained(step, self.folder):
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
        self.world.barrier()
        with _explained(step, self.folder):
            torch.save(generator_states(self.world.device), temporary / _generators_file(self.world))
            done = dcp.async_save({"train": state}, checkpoint_id=temporary, process_group=self._group)
        assert isinstance(done, Future)
        self._pending = _Pending(step, done, json.dumps(progress), best)

    def poll(self) -> None:
        """Complete a checkpoint that every rank has written; does not wait for one that is still being written."""
        if self._pending is not None:
            done = torch.tensor(float(self._pending.done.done()), device=self.world.device)
            if bool(self.world.all_reduce(done, op=dist.ReduceOp.MIN)):
                self.wait()

    def wait(self) -> None:
        """Complete the checkpoint that is being written, if there is one.

        Raises:
            CheckpointError: as `save`.
        """
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        with _explained(pending.step, self.folder):
            pending.done.result()
        self.world.barrier()
        if self.world.is_main:
            with _explained(pending.step, self.folder):
                self._complete(pending, _unfinished(self.folder / _name(pending.step)))
        self.world.barrier()

    def _complete_alone(self) -> None:
        """Complete the checkpoint that is being written without meeting the other ranks, which may not be there any more.

        The writers' threads have met by the time that one of them is done: then everything is on disk. Several ranks may
        come here; the one that can rename the folder completes it.
        """
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        final = self.folder / _name(pending.step)
        claimed = temporary_sibling(final, f"rank-{self.world.rank}")
        with _explained(pending.step, self.folder):
            pending.done.result()
            try:
                os.rename(_unfinished(final), claimed)
            except FileNotFoundError:
                if any(self.folder.glob(f".{final.name}.*")) or final.exists():  # another rank was faster
                    return
                raise
            self._complete(pending, claimed)

    def _complete(self, pending: _Pending, temporary: Path) -> None:
        final = self.folder / _name(pending.step)
        files = {path.name: path.stat().st_size for path in sorted(temporary.iterdir())}
        progress = json.loads(pending.progress)
        mark = {"step": pending.step, "written_on": _place(self.world), "files": files, "progress": progress}
        write_text(temporary / _MARK, json.dumps(mark))
        shutil.rmtree(final, ignore_errors=True)
        os.rename(temporary, final)
        sync(self.folder)
        kept = None if pending.best is None else self.folder / _name(pending.best)
        for old in self._steps()[: -self.keep]:
            if old != kept:
                shutil.rmtree(old, ignore_errors=True)

    def load(self, step: int, state: TrainState) -> None:
        """Restore the model and optimizers of a complete checkpoint."""
        dcp.load({"train": state}, checkpoint_id=self.folder / _name(step))

    def load_newest(self, state: TrainState, *, seed: int) -> dict[str, Any] | None:
        """Restore the newest complete checkpoint into `state`, and this process's generators to where they were.

        Args:
            seed: what generators start from anew, with the rank and the step, where a checkpoint is from another number of
                ranks or another kind of device, and does not say where they should be. Rank 0 says so.
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
        writer, here = mark["written_on"], _place(self.world)
        if writer == here:
            restore_generators(torch.load(folder / _generators_file(self.world)), self.world.device)
        else:
            seed_everything(seed, self.world.rank, mark["step"])
            if self.world.is_main:
                print(f"{folder.name} was written on {writer}, here is {here}: dropout is seeded anew", flush=True)
        progress: dict[str, Any] = mark["progress"]
        return progress

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


@dataclass(frozen=True)
class _Pending:
    """A checkpoint that is being written."""

    step: int
    done: Future[Any]
    progress: str
    best: int | None


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _unfinished(final: Path) -> Path:
    """One name for all ranks, where they write what becomes `final`."""
    return temporary_sibling(final, "ranks")


def _generators_file(world: World) -> str:
    return f"generators-{world.rank}.pt"


def _place(world: World) -> str:
    """What the generators' states in a checkpoint depend on: `2 x cpu`."""
    return f"{world.size} x {world.device.type}"


@contextmanager
def _explained(step: int, folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, CheckpointException) as error:
        reason = str(_first_cause(error)).partition("\n")[0]
        there = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(there).free  # torch's archive writer does not say that a disk is full
        raise CheckpointError(
            f"checkpoint of step {step} could not be written to {folder} ({free:,} bytes are free there): {reason}"
        ) from error


def _first_cause(error: BaseException) -> BaseException:
    """What a rank reported, out of the collection of all ranks' reports."""
    if isinstance(error, CheckpointException) and error.failures:
        return min(error.failures.items())[1][0]
    return error


def _intact(folder: Path) -> dict[str, Any] | None:
    """The mark of a complete checkpoint, or None."""
    try:
        mark: dict[str, Any] = json.loads((folder / _MARK).read_text(encoding="utf-8"))
        sizes_match = all((folder / name).stat().st_size == size for name, size in mark["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return mark if sizes_match else None
