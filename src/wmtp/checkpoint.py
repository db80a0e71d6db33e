"""Resumable training state on disk: sharded, atomic, checked.

A checkpoint is a folder `step-00000100` written by torch.distributed.checkpoint, while training goes on, under a temporary
name, and renamed once every rank is done. `complete.json` lists every file with its size and its SHA-256, so that a truncated
or damaged one is found before anything is read from it. Beside the tensors it holds where each rank's random generators
were, and what each rank had measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

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

_MARK, _OF_RANK = "complete.json", "of-rank-"


class OfARank(Protocol):
    """What is another on every rank and belongs to none: ranks that are other ones, or fewer, can share it."""

    def local_state(self) -> dict[str, Any]: ...
    def restore_local(self, states: Sequence[dict[str, Any]]) -> None: ...


class TrainState(Stateful):
    """Model and optimizers, sharded as they are, for torch.distributed.checkpoint, and what a rank has of its own."""

    def __init__(self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], of_a_rank: OfARank | None = None) -> None:
        self.model, self.optimizers, self.of_a_rank = model, list(optimizers), of_a_rank

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

    `newest`: the step of the last checkpoint that was restored or is being written, or has been; None before there is one.
    """

    def __init__(self, folder: Path, world: World, *, keep: int = 2) -> None:
        self.folder, self.world, self.keep = folder, world, keep
        self._group = dist.new_group(
            backend="gloo", timeout=world.timeout
        )  # training's own collectives must not meet the writer's
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="checksums")
        self._pending: _Pending | None = None
        self.newest: int | None = None

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
            if state.of_a_rank is not None:
                torch.save(state.of_a_rank.local_state(), temporary / f"{_OF_RANK}{self.world.rank}.pt")
            done = dcp.async_save({"train": state}, checkpoint_id=temporary, process_group=self._group)
        assert isinstance(done, Future)
        sums = self._hashing.submit(self._checksums, done, temporary)
        self._pending = _Pending(step, done, sums, json.dumps(progress), best)
        self.newest = step

    def _checksums(self, done: Future[Any], folder: Path) -> dict[str, _Sum]:
        """Of this rank's share of the files, once all are written."""
        done.result()
        return {path.name: _checksum(path) for path in _share(folder, self.world.rank, self.world.size)}

    def poll(self) -> None:
        """Complete a checkpoint that every rank has written; does not wait for one that is still being written."""
        if self._pending is not None:
            done = torch.tensor(float(self._pending.sums.done()), device=self.world.device)
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
            own = pending.sums.result()
        files = {name: value for part in self.world.gather_objects(own) for name, value in part.items()}
        if self.world.is_main:
            with _explained(pending.step, self.folder):
                self._complete(pending, files, _unfinished(self.folder / _name(pending.step)))
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
            self._complete(pending, {path.name: _checksum(path) for path in _share(claimed, 0, 1)}, claimed)

    def _complete(self, pending: _Pending, files: dict[str, _Sum], temporary: Path) -> None:
        final = self.folder / _name(pending.step)
        mark = {"step": pending.step, "best": pending.best, "written_on": _place(self.world), "files": files}
        mark["progress"] = json.loads(pending.progress)
        write_text(temporary / _MARK, json.dumps(mark))
        shutil.rmtree(final, ignore_errors=True)
        os.rename(temporary, final)
        sync(self.folder)
        kept = None if pending.best is None else self.folder / _name(pending.best)
        for old in self._steps()[: -self.keep]:
            if old != kept:
                shutil.rmtree(old, ignore_errors=True)

    def load(self, step: int, state: TrainState) -> None:
        """Restore the model and optimizers of a complete checkpoint.

        Raises:
            CheckpointError: it is not what was written, or cannot be read.
        """
        folder = self.folder / _name(step)
        _, reason = self._examine(folder)
        reason = reason or self._try(lambda: dcp.load({"train": state}, checkpoint_id=folder))
        if reason:
            raise CheckpointError(f"{folder} is damaged ({reason}); the next try goes on from what is whole")

    def load_newest(self, state: TrainState, *, seed: int) -> dict[str, Any] | None:
        """Restore the newest complete checkpoint into `state`, and this process's generators to where they were.

        Args:
            seed: what generators start from anew, with the rank and the step, where a checkpoint is from another number of
                ranks or another kind of device, and does not say where they should be. Rank 0 says so.
        Returns:
            its `progress`, or None when there is no usable checkpoint. Damaged ones are reported, put aside and passed over.
        Raises:
            CheckpointError: one that was whole could not be loaded, so that `state` is neither it nor as it was, and there
                was none before it. It is put aside.
        """
        steps: list[Path] = self.world.gather_objects(self._steps()[::-1])[0]
        touched = ""
        for folder, older in zip(steps, [*steps[1:], None], strict=False):
            mark, reason = self._examine(folder)
            if not reason:
                reason = touched = self._try(lambda folder=folder, mark=mark: self._restore(folder, mark, state, seed))  # type: ignore[misc]
            if not reason:
                progress: dict[str, Any] = mark["progress"]
                self.newest = mark["step"]
                return progress
            if self.world.is_main:
                _put_aside(folder)
                instead = "starting from the beginning" if older is None else "using the one before it"
                print(f"checkpoint {folder.name} is damaged ({reason}): {instead}", flush=True)
            self.world.barrier()
        if touched:
            raise CheckpointError(f"no checkpoint in {self.folder} could be loaded ({touched}); the next try starts anew")
        return None

    def _restore(self, folder: Path, mark: dict[str, Any], state: TrainState, seed: int) -> None:
        dcp.load({"train": state}, checkpoint_id=folder)
        if state.of_a_rank is not None:
            own = [path for path in _share(folder, self.world.rank, self.world.size) if path.name.startswith(_OF_RANK)]
            state.of_a_rank.restore_local([torch.load(path, map_location="cpu") for path in own])
        writer, here = mark["written_on"], _place(self.world)
        if writer == here:
            restore_generators(torch.load(folder / _generators_file(self.world)), self.world.device)
        else:
            seed_everything(seed, self.world.rank, mark["step"])
            if self.world.is_main:
                print(f"{folder.name} was written on {writer}, here is {here}: dropout is seeded anew", flush=True)

    def _examine(self, folder: Path) -> tuple[dict[str, Any], str]:
        """The mark of a checkpoint, and why it cannot be used; all ranks share the reading, and come to the same word.

        One that names a best step is of use only with that one's checkpoint.
        """
        mark: dict[str, Any] = {}
        try:
            mark = json.loads((folder / _MARK).read_text(encoding="utf-8"))
            best, reason = mark["best"], _difference(folder, mark["files"], self.world)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{_MARK}: {type(error).__name__}"
        reason = self._first(reason)
        if not reason and best not in (None, mark["step"]):
            _, reason = self._examine(self.folder / _name(best))
            reason = reason and f"{_name(best)}, the best so far: {reason}"
        return mark, reason

    def _try(self, action: Callable[[], object]) -> str:
        """Do what all ranks do; why any of them could not."""
        try:
            action()
        except (Exception, CheckpointException) as error:  # whatever it is, there is an older checkpoint to go on from
            cause = _first_cause(error)
            return self._first(f"{type(cause).__name__}: {cause}".partition("\n")[0])
        return self._first("")

    def _first(self, reason: str) -> str:
        """The first rank's reason that is one."""
        return next(filter(None, self.world.gather_objects(reason)), "")

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


_Sum = dict[str, Any]
"""`bytes` and `sha256` of a file."""


@dataclass(frozen=True)
class _Pending:
    """A checkpoint that is being written: `done` once it is on the disk, `sums` of this rank's share of it after that."""

    step: int
    done: Future[Any]
    sums: Future[dict[str, _Sum]]
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


def _share(folder: Path, rank: int, size: int) -> list[Path]:
    """The files that `rank` of so many reads: its own, where they are named after ranks (`__1_0.distcp`)."""
    files = sorted(path for path in folder.iterdir() if path.name != _MARK)
    return [path for path in files if _reader(path.name) % size == rank]


def _reader(name: str) -> int:
    number = re.search(r"\d+", name)
    return int(number[0]) if number else 0


def _checksum(path: Path) -> _Sum:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _difference(folder: Path, files: dict[str, _Sum], world: World) -> str:
    """The first of this rank's share of the files that is not what was written."""
    for name, expected in sorted(files.items()):
        if _reader(name) % world.size == world.rank:
            try:
                found = _checksum(folder / name)
            except OSError as error:
                return f"{name}: {error.strerror}"
            if found != expected:
                is_same_size = found["bytes"] == expected["bytes"]
                return f"{name}: {'other bytes than were written' if is_same_size else 'another size than was written'}"
    return ""


def _put_aside(folder: Path) -> None:
    """Out of the way of those that are whole, and of those that will be written."""
    aside = temporary_sibling(folder, "damaged")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(folder, aside)
