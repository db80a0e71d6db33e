"""Parallel heads in the place of a decoder's last layer, whatever the decoder's family.

The library's own forward makes masks (windows, layer types), rotary embeddings, scales and caches, and hands them to its last
layer; a module in that place hands them on to that layer and its siblings. Nothing here knows a family.

Shapes: B batch, T sequence, D width.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ParallelHeads(nn.Module):
    """A decoder's last layer, which is head 0, and its siblings on the same input.

    Args:
        block: the layer; every sibling starts as a copy of it.
        num_heads: head 0 included.
        num_layers: of the decoder, with this one: where the siblings' caches are numbered from.
    """

    def __init__(self, block: nn.Module, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([block])
        for h in range(1, num_heads):
            sibling = _copy(block)
            module: Any
            for module in sibling.modules():
                if hasattr(module, "layer_idx"):
                    module.layer_idx = num_layers - 1 + h
            self.blocks.append(sibling)
        self._num_running = 1
        self._outputs: list[torch.Tensor] = []

    def __getattr__(self, name: str) -> Any:
        """What decoders ask their layers for (`attention_type` and the like), this one says as its first block does."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            blocks: Any = super().__getattr__("blocks")
            return getattr(blocks[0], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Head 0's output, as the layer gave it."""
        outputs = [block(*args, **kwargs) for block in self.blocks[: self._num_running]]
        self._outputs.extend(output[0] if isinstance(output, tuple) else output for output in outputs)
        return outputs[0]

    @contextmanager
    def running(self, num_heads: int) -> Iterator[list[torch.Tensor]]:
        """The first `num_heads` run, and the list is filled with what each of them made, (B, T, D)."""
        self._num_running, self._outputs = num_heads, []
        try:
            yield self._outputs
        finally:
            self._num_running, self._outputs = 1, []


def _copy(block: nn.Module) -> nn.Module:
    """A copy with tensors of its own and the same configuration objects: they may still change for all layers."""
    shared = {id(value): value for module in block.modules() for key, value in vars(module).items() if key == "config"}
    return copy.deepcopy(block, shared)


def layers_name(decoder: PreTrainedModel) -> str:
    """The name of the list of a decoder's layers.

    Raises:
        ValueError: there is not exactly one list of so many modules as the configuration says.
    """
    count = getattr(decoder.config, "num_hidden_layers", None)
    names = [n for n, child in decoder.named_children() if isinstance(child, nn.ModuleList) and len(child) == count]
    if len(names) != 1:
        raise ValueError(f"it has no single list of {count} layers")
    return names[0]


def norm_name(decoder: PreTrainedModel) -> str:
    """The name of the norm after the last layer: the decoder's own one that is registered last.

    Raises:
        ValueError: there is none. That it is the one, and nothing else comes after it, the proof at load says.
    """
    norms = [name for name, child in decoder.named_children() if _is_norm(name, child)]
    if not norms:
        raise ValueError("it has no norm after its last layer")
    return norms[-1]


def _is_norm(name: str, module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower() and not list(module.children())
