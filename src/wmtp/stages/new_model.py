"""The language model that a stage starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wmtp.models.build import build_model
from wmtp.models.mtp import MTPForCausalLM
from wmtp.tokens.data import TokenMeta

if TYPE_CHECKING:
    from wmtp.config.training import ModelConfig


def new_model(config: ModelConfig, meta: TokenMeta, *, seed: int, n_future: int | None = None) -> MTPForCausalLM:
    """A language model for the tokens of `meta`; see `build_model`."""
    return build_model(
        config,
        vocab_size=meta.vocab_size,
        max_length=meta.max_length,
        pad_token_id=meta.pad_token_id,
        eos_token_id=meta.eos_token_id,
        seed=seed,
        n_future=n_future,
    )
