"""The process group: one per stage, gloo on CPU and NCCL on CUDA, and the few collectives that wmtp uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


@dataclass(frozen=True)
class World:
    """Who this process is. `mesh` is the one-dimensional FSDP mesh."""

    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def all_reduce(self, tensor: torch.Tensor, *, op: Any = dist.ReduceOp.SUM) -> torch.Tensor:
        """Sum (or `op`) over ranks, in place, and return it."""
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


@contextmanager
def join_world(device: str = "auto") -> Iterator[World]:
    """Join the process group that torchrun's environment describes (a group of one without it), and leave it at the end.

    Args:
        device: `cpu`, `cuda` or `auto` (cuda when there is one).
    """
    use_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if "RANK" not in os.environ:
        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    local = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if use_cuda else torch.device("cpu")
    if use_cuda:
        torch.cuda.set_device(local)
    dist.init_process_group("cuda:nccl,cpu:gloo" if use_cuda else "gloo", device_id=local if use_cuda else None)
    try:
        size = dist.get_world_size()
        mesh = dist.init_device_mesh(local.type, (size,), mesh_dim_names=("data",))
        yield World(rank=dist.get_rank(), size=size, device=local, mesh=mesh)
    finally:
        dist.destroy_process_group()
