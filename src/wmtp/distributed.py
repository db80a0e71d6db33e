"""The process group: one per stage, gloo on CPU and NCCL on CUDA, the few collectives that wmtp uses, and randomness.

Every process that trains or scores comes through `join_world`, which seeds all of its generators before anything is built.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.distributed as dist

from wmtp.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

TIMEOUT_S = 600.0
"""Of collectives: long enough for a rank that writes a checkpoint alone, and not half an hour of an idle machine."""


@dataclass(frozen=True)
class World:
    """Who this process is. `mesh` is the one-dimensional FSDP mesh; `timeout`: how long it waits for another rank."""

    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh
    timeout: timedelta = timedelta(seconds=TIMEOUT_S)

    @classmethod
    def alone(cls, device: torch.device) -> World:
        """A process without a group, and without a mesh: for what needs neither, and leaves generators as they are."""
        return cls(rank=0, size=1, device=device, mesh=cast("DeviceMesh", None))

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def all_reduce(self, tensor: torch.Tensor, *, op: Any = dist.ReduceOp.SUM) -> torch.Tensor:
        """Sum (or `op`) over ranks, in place, and return it."""
        if self.size > 1:
            dist.all_reduce(tensor, op=op)
        return tensor

    def all_gather(self, tensor_N: torch.Tensor) -> torch.Tensor:
        """Concatenate one-dimensional tensors of any lengths in rank order; every rank gets the whole."""
        if self.size == 1:
            return tensor_N
        sizes = [torch.zeros(1, dtype=torch.int64, device=tensor_N.device) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([tensor_N.numel()], device=tensor_N.device))
        counts = [int(size) for size in sizes]
        padded = tensor_N.new_zeros(max(counts))
        padded[: tensor_N.numel()] = tensor_N
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def gather_objects(self, value: Any) -> list[Any]:
        """Every rank's plain `value`, in rank order, on every rank."""
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, value)
        return parts

    def barrier(self) -> None:
        dist.barrier()


def stream_seed(seed: int, *stream: int) -> int:
    """A 64-bit seed that is `seed`'s alone and tells its uses apart; zeros at the end of `stream` do not count."""
    return int(np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)[0])


def seed_everything(seed: int, *stream: int) -> None:
    """Seed this process's generators: Python's, NumPy's, torch's on the CPU and on every CUDA device.

    Args:
        seed: 0 or more. Alone it makes all ranks draw alike, as building a model needs.
        stream: numbers that tell further uses of the seed from that one and from one another: the rank, the step.
    """
    chosen = stream_seed(seed, *stream) if stream else seed
    random.seed(chosen)
    np.random.seed([chosen >> 32, chosen & 0xFFFFFFFF])
    torch.manual_seed(chosen)


def generator_states(device: torch.device) -> dict[str, Any]:
    """Where this process's generators are: what `restore_generators` takes, of plain values and tensors."""
    numpy: Any = np.random.get_state()
    name, keys, *rest = numpy
    states = {"python": random.getstate(), "numpy": (name, keys.tolist(), *rest), "torch": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_generators(states: dict[str, Any], device: torch.device) -> None:
    """Put this process's generators back to where they were."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def _own_gpu() -> torch.device:
    """This rank's of its host."""
    own, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if own >= there:
        ranks = os.environ.get("LOCAL_WORLD_SIZE", own + 1)
        raise ConfigError(f"{ranks} ranks on a host with {there} GPUs: every rank needs its own (launch.nproc_per_node)")
    return torch.device("cuda", own)


@contextmanager
def join_world(device: str = "auto", *, seed: int, timeout_s: float = TIMEOUT_S) -> Iterator[World]:
    """Join the process group that torchrun's environment describes (a group of one without it), and leave it at the end.

    Args:
        device: `cpu`, `cuda` or `auto` (cuda when there is one).
        seed: what every rank's generators start from (see `seed_everything`).
        timeout_s: how long a rank waits for the others in a collective before it raises, in seconds.

    Raises:
        ConfigError: a host with fewer GPUs than ranks.
    """
    use_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if "RANK" not in os.environ:
        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    local = _own_gpu() if use_cuda else torch.device("cpu")
    if use_cuda:
        torch.cuda.set_device(local)
    timeout = timedelta(seconds=timeout_s)
    backend = "cuda:nccl,cpu:gloo" if use_cuda else "gloo"
    dist.init_process_group(backend, timeout=timeout, device_id=local if use_cuda else None)
    try:
        dist.barrier()  # gloo: a rank that had nothing to say and left would break off the others' connecting
        size = dist.get_world_size()
        mesh = dist.init_device_mesh(local.type, (size,), mesh_dim_names=("data",))
        seed_everything(seed)
        yield World(rank=dist.get_rank(), size=size, device=local, mesh=mesh, timeout=timeout)
    finally:
        dist.destroy_process_group()
