"""A sharded model as a folder in Hugging Face's format, made and written a shard at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from wmtp.models.lora import adapted, merged
from wmtp.models.mtp import MTPForCausalLM
from wmtp.models.parts import without_wrappers
from wmtp.models.shards import SHARD_BYTES, write_shards
from wmtp.models.token_order import is_of_token_order


class Gathered:
    """The tensors of a model, sharded or not, by the names that they are saved by: without adapters, which are merged.

    Args:
        is_main: whether this rank keeps what is gathered.
        dtype: what floating-point numbers are saved in; by default as they are.
    """

    def __init__(self, model: nn.Module, *, is_main: bool, dtype: torch.dtype | None = None) -> None:
        self._state = {name: tensor for name, tensor in model.state_dict().items() if not is_of_token_order(name)}
        self._names = {without_wrappers(name): name for name in self._state if ".lora_" not in name}
        self._adapted, self._is_main, self._dtype = adapted(model), is_main, dtype

    @property
    def shapes(self) -> dict[str, torch.Size]:
        return {name: self._state[known].shape for name, known in self._names.items()}

    def whole(self, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """Tensors on the main rank's host, nothing on the others. All ranks call it."""
        found = {}
        for name in names:
            tensor = merged(self._names[name], self._full, self._adapted)
            if self._is_main:
                found[name] = tensor.cpu().to(self._dtype if tensor.is_floating_point() else None)
        return found

    def _full(self, name: str) -> torch.Tensor:
        tensor = self._state[name]
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def write_language_model(
    model: nn.Module, folder: Path, *, is_main: bool, save_dtype: str | None = None, shard_bytes: int | None = None
) -> None:
    """All ranks call it; the main one writes. A kill leaves a folder without weights or without their index, which is refused.

    Args:
        save_dtype: see `TrainConfig`.
        shard_bytes: the largest shard; by default a 16th of the model, from 64 MiB to 1 GiB.
    """
    backbone: Any = model
    dtype = next(model.parameters()).dtype if save_dtype is None else getattr(torch, save_dtype)
    tensors = Gathered(model, is_main=is_main, dtype=dtype)
    tied = backbone.config.tie_word_embeddings
    shapes = {name: shape for name, shape in tensors.shapes.items() if not (tied and name.startswith("unembedding."))}
    total = sum(shape.numel() * dtype.itemsize for shape in shapes.values())

    def read(names: Sequence[str]) -> dict[str, torch.Tensor] | None:
        found = tensors.whole(names)
        return found if is_main else None

    if is_main:
        folder.mkdir(parents=True, exist_ok=True)
        config = copy.deepcopy(backbone.config)
        config.architectures, config.dtype = [MTPForCausalLM.__name__], dtype
        config.save_pretrained(folder)
        backbone.generation_config.save_pretrained(folder)
    write_shards(folder, shapes, dtype, read, shard_bytes=shard_bytes or max(2**26, min(SHARD_BYTES, total // 16)))
