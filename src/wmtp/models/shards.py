"""Weights as Hugging Face shards, made and written one shard at a time: no more than that is ever in memory."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import SafetensorError
from safetensors.torch import save_file

from wmtp.files import temporary_sibling, usual_mode, write_json

SHARD_BYTES = 2**30
_PATTERN = "model{suffix}.safetensors"


def shard_names(shapes: Mapping[str, torch.Size], dtype: torch.dtype, shard_bytes: int = SHARD_BYTES) -> dict[str, list[str]]:
    """File -> the tensors that it holds, in the order of `shapes`; a tensor that is larger than a shard has one of its own."""
    split = split_state_dict_into_shards_factory(
        dict(shapes),
        get_storage_size=lambda shape: math.prod(shape) * dtype.itemsize,
        filename_pattern=_PATTERN,
        max_shard_size=shard_bytes,
    )
    return dict(split.filename_to_tensors)


def write_shards(
    folder: Path,
    shapes: Mapping[str, torch.Size],
    dtype: torch.dtype,
    read: Callable[[Sequence[str]], Mapping[str, torch.Tensor] | None],
    *,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write `model.safetensors`, or shards of it and their index: each whole or not there, the index last.

    Args:
        shapes: of every tensor, by name, in the order in which they are written.
        read: makes the tensors of these names; where it returns None (on a rank that only helps to make them) nothing is
            written.
    """
    places = shard_names(shapes, dtype, shard_bytes)
    is_writer = True
    for file, names in places.items():
        tensors = read(names)
        is_writer = tensors is not None
        if tensors is not None:
            whole = {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}
            del tensors
            write_tensors(whole, folder / file)
            del whole
    if is_writer and len(places) > 1:
        total = sum(math.prod(shape) for shape in shapes.values())
        index = {
            "metadata": {"total_parameters": total, "total_size": total * dtype.itemsize},
            "weight_map": {name: file for file, names in places.items() for name in names},
        }
        write_json(folder / "model.safetensors.index.json", index)


def write_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """A safetensors file, whole or not there, with the rights of any other of its folder.

    Raises:
        OSError: what the disk says.
    """
    temporary = temporary_sibling(path, "shard")
    with said_by_the_disk(path):
        save_file(tensors, temporary, metadata={"format": "pt"})
    temporary.chmod(usual_mode(path.parent))
    os.replace(temporary, path)


@contextmanager
def said_by_the_disk(path: Path) -> Iterator[None]:
    """What the system says to safetensors while `path` is written is an OSError, as everywhere else."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
