"""Tensors of sharded models: the part of them that this rank holds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

_WRAPPERS = ("_checkpoint_wrapped_module.", "base_layer.")


def fill(held: torch.Tensor, read: Callable[[tuple[slice, ...]], torch.Tensor]) -> None:
    """Set a tensor, or this rank's part of a sharded one.

    Args:
        read: gives the part of the whole that it is asked for.
    """
    if not isinstance(held, DTensor):
        held.copy_(read(()))
        return
    sizes, starts = compute_local_shape_and_global_offset(held.shape, held.device_mesh, held.placements)
    if all(sizes):
        held.to_local().copy_(read(tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))))


def fill_like(held: torch.Tensor, other: torch.Tensor) -> None:
    """Set a tensor to another one of its shape that is sharded as it is."""
    mine, theirs = (tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in (held, other))
    mine.copy_(theirs)


def without_wrappers(name: str) -> str:
    """A parameter's name in the model as it was before its blocks were wrapped and its matrices adapted."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name
