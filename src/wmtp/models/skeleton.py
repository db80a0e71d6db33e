"""A configured model without its parameters: for what can be told of it before anything is read or trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM

from wmtp.models.build import scratch_config
from wmtp.models.load import put_heads
from wmtp.models.lora import add_adapters
from wmtp.models.mtp import MTPForCausalLM
from wmtp.models.start import default_start, layout_of

if TYPE_CHECKING:
    from wmtp.config.training import ModelConfig


def skeleton(config: ModelConfig, *, vocab_size: int, max_length: int, n_future: int, folder: Path | None) -> MTPForCausalLM:
    """As `build_model` makes it, on the meta device.

    Args:
        folder: of the pretrained model; None for one that is made from scratch, or that is not here: then of the shape that
            `config` has beside it, of whose layers `n_future` are heads.
    """
    with init_empty_weights(include_buffers=True):
        if folder is None:
            if config.pretrained is not None:  # its layers stay, however many heads are taken
                config = replace(config, n_layers=config.n_layers - config.n_future + n_future, n_future=n_future)
            model = MTPForCausalLM(scratch_config(config, n_future, vocab_size=vocab_size, max_length=max_length))
        else:
            source = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
            if isinstance(source, MTPForCausalLM):
                source.keep_heads(n_future)
                model = source
            else:
                layout = layout_of(
                    config.head_variant, config.head_stride, config.head_init or default_start(config.head_variant)
                )
                model = put_heads(source, n_future, f"model.pretrained={folder}", layout)
        model.tie_weights()
        if config.lora.rank:
            add_adapters(model, config.lora, seed=0)
    return model
