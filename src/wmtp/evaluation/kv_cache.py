"""A key-value cache for generation that does not copy itself at every step."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, LinearAttentionCacheLayerMixin

from wmtp.errors import ModelError


class GrowingLayer(DynamicLayer):
    """A cache layer that doubles its room when it is full, instead of copying everything at every step."""

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length, total = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < total:
            self._room = (
                self._wider(self.keys, key_states, length, total),
                self._wider(self.values, value_states, length, total),
            )
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[..., length:total, :] = states
        self.keys, self.values = self._room[0][..., :total, :], self._room[1][..., :total, :]
        return self.keys, self.values

    @staticmethod
    def _wider(old: torch.Tensor | None, states: torch.Tensor, length: int, total: int) -> torch.Tensor:
        room = states.new_zeros((*states.shape[:-2], max(2 * length, total), states.shape[-1]))
        if length and old is not None:
            room[..., :length, :] = old
        return room

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self._room = None

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self._room = None


def growing_cache(model: Any, num_heads: int = 1) -> DynamicCache:
    """The model's own kind of cache, with plain layers replaced by growing ones.

    Args:
        num_heads: of a multi-token model, how many are to run.
    """
    cache = model.new_cache(num_heads) if hasattr(model, "new_cache") else DynamicCache(config=model.config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def cache_argument(model: Any) -> str:
    """The name by which the model's forward takes a cache.

    Raises:
        ModelError: it takes none, and keeps its state in a way of its own.
    """
    accepted = inspect.signature(model.forward).parameters
    if "cache_params" in accepted:
        return "cache_params"
    if "past_key_values" in accepted or "state" not in accepted:
        return "past_key_values"
    raise ModelError(f"a {model.config.model_type} model keeps its state in its own way and cannot complete texts here")


def step_arguments(
    name: str, cache: DynamicCache, ids: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor
) -> dict[str, Any]:
    """What a model's forward is called with for the next tokens; `name`: see `cache_argument`."""
    arguments = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, name: cache, "use_cache": True}
    if name == "cache_params":  # a state-space model: no positions, and padding only before the first token
        del arguments["position_ids"]
        arguments["attention_mask"] = mask if mask is not None and mask.shape == ids.shape else None
    return arguments


def select_rows(cache: DynamicCache, indices: torch.Tensor) -> None:
    """Keep these rows of the batch, in this order, each as often as it is named; recurrent states, too."""
    layer: Any
    for layer in cache.layers:
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            layer.reorder_cache(indices)  # type: ignore[arg-type]
        else:
            layer.batch_select_indices(indices)


def takes_back(cache: DynamicCache, num_slots: int) -> bool:
    """Whether tokens can be hidden again by a mask: so many slots are in no layer's recurrent state and within every window."""
    recurrent = any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers)
    return not recurrent and all(num_slots < getattr(layer, "sliding_window", math.inf) for layer in cache.layers)
