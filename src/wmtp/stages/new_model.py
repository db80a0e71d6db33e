"""The language model that a stage starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wmtp.config.inputs import located
from wmtp.model_files import tokenizer_files
from wmtp.models.build import build_model
from wmtp.models.mtp import MTPForCausalLM
from wmtp.same_tokenizer import require_same_tokenizer
from wmtp.tokens.data import TokenMeta

if TYPE_CHECKING:
    from wmtp.config.training import ModelConfig

_LEAST_SHARE = 0.9
"""Of a model's embeddings, those that its tokenizer has tokens for; models pad them to a round number (Phi-2: 0.98)."""


def new_model(
    config: ModelConfig, meta: TokenMeta, tokenizer: Path, *, seed: int, n_future: int | None = None
) -> MTPForCausalLM:
    """A language model for the tokens of `meta`; see `build_model`.

    Args:
        tokenizer: the folder of the one that made them.
    Raises:
        ConfigError: the pretrained model was made with another tokenizer.
    """
    vocab_size = meta.vocab_size
    if config.pretrained is not None:
        where, folder = f"model.pretrained={config.pretrained}", Path(located(config.pretrained, "model"))
        if folder.is_dir() and not tokenizer_files(folder):
            print(f"{where} holds no tokenizer: that the data was made with its own cannot be checked", flush=True)
        require_same_tokenizer(tokenizer, folder, where)
        config = replace(config, pretrained=str(folder))
        vocab_size = meta.least_embeddings  # a multimodal model's tokenizer has more than its text model embeds
    model = build_model(
        config,
        vocab_size=vocab_size,
        max_length=meta.max_length,
        pad_token_id=meta.pad_token_id,
        eos_token_id=meta.eos_token_id,
        seed=seed,
        n_future=n_future,
    )
    num_embeddings = model.config.decoder_config.vocab_size
    if meta.vocab_size < _LEAST_SHARE * num_embeddings:
        print(
            f"model.pretrained={config.pretrained} embeds {num_embeddings:,} tokens and the tokenizer of the data has"
            f" {meta.vocab_size:,}: is it the model's own?",
            flush=True,
        )
    return model
