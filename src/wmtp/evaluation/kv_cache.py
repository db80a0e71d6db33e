"""A key-value cache for generation that does not copy itself at every step."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer


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


def growing_cache(config: Any) -> DynamicCache:
    """The model's own kind of cache, with plain layers replaced by growing ones."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
