"""A configured model, from scratch or from somebody's weights, and its FSDP layout."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from transformers import GraniteConfig
from transformers.initialization import no_init_weights

from wmtp.distributed import seed_everything
from wmtp.errors import ConfigError
from wmtp.models.lora import add_adapters
from wmtp.models.mtp import MTPConfig, MTPForCausalLM
from wmtp.models.shipped import open_modules, ships_modules
from wmtp.models.slices import open_model, unread
from wmtp.models.start import default_start, layout_of
from wmtp.models.unembedding import FORWARD_METHODS

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from wmtp.config.training import ModelConfig


def build_model(
    config: ModelConfig,
    *,
    vocab_size: int,
    max_length: int,
    pad_token_id: int,
    eos_token_id: int,
    seed: int,
    n_future: int | None = None,
) -> MTPForCausalLM:
    """A model on the CPU, the same on every rank. A pretrained one has no parameters before `parallelize` fills it.

    Args:
        vocab_size: of a model from scratch; of a pretrained one, the embeddings that it must have.
        seed: of every number that is drawn for it; all ranks' generators start from it here.
        n_future: overrides `config.n_future` (arm `ntp` is the same number of layers with one head).
    Raises:
        ConfigError: the pretrained model has fewer embeddings.
        ModelError: see `wmtp.models.slices.open_model`.
    """
    seed_everything(seed)
    heads = n_future if n_future is not None else config.n_future
    if config.pretrained is not None:
        model = _pretrained(config.pretrained, config, heads, vocab_size, seed)
        if config.lora.rank:
            add_adapters(model, config.lora, seed)
        return model
    shape = scratch_config(
        config, heads, vocab_size=vocab_size, max_length=max_length, pad_token_id=pad_token_id, eos_token_id=eos_token_id
    )
    with no_init_weights():
        model = MTPForCausalLM(shape)
    model.tie_weights()
    _draw_parameters(model)
    return model


def scratch_config(
    config: ModelConfig,
    n_future: int,
    *,
    vocab_size: int,
    max_length: int,
    pad_token_id: int | None = None,
    eos_token_id: int | None = None,
) -> MTPConfig:
    """Of a model that starts from nothing."""
    layout = layout_of(config.head_variant, config.head_stride, "random")
    return MTPConfig(
        text_config=GraniteConfig(
            vocab_size=vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.n_layers - n_future + 1,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads,
            max_position_embeddings=max_length,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            tie_word_embeddings=config.tie_embeddings,
            embedding_multiplier=math.sqrt(config.hidden_size),
            attention_multiplier=(config.hidden_size // config.n_heads) ** -0.5,
            bos_token_id=None,
            eos_token_id=eos_token_id,
            pad_token_id=pad_token_id,
        ),
        n_future=n_future,
        head_variant=layout.variant,
        head_stride=layout.stride,
        head_reads=layout.reads,
    )


def _draw_parameters(model: MTPForCausalLM) -> None:
    """Embeddings of std 1/sqrt(D) scaled back up at the input; matrices of std 1/sqrt(fan_in); blocks start as identity."""
    matrices = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Embedding)}
    for module in matrices.values():
        module.reset_parameters()  # torch's own numbers, which are drawn before: models are what they always were
    for name, module in matrices.items():
        if isinstance(module, nn.Embedding):
            std = module.embedding_dim**-0.5
        elif name.endswith(("o_proj", "down_proj")):
            std = 0.0
        else:
            std = module.in_features**-0.5
        if not (model.config.tie_word_embeddings and module is model.unembedding.lm_head):
            nn.init.normal_(module.weight, mean=0.0, std=std)


def _pretrained(path: str, config: ModelConfig, n_future: int, vocab_size: int, seed: int) -> MTPForCausalLM:
    where = f"model.pretrained={path}"
    opened = open_model(Path(path), where)
    embeddings = cast(nn.Embedding, opened.model.get_input_embeddings()).num_embeddings
    if embeddings < vocab_size:
        raise ConfigError(f"{where}: {embeddings} embeddings, but the data's tokens need {vocab_size}")
    if isinstance(opened.model, MTPForCausalLM):
        model = opened.own()
        _take_heads(model, config, n_future, where)
        return model
    start = config.head_init or default_start(config.head_variant)
    if config.head_init is None and config.head_variant == "sequential" and ships_modules(opened):
        start = "shipped"
    layout = layout_of(config.head_variant, config.head_stride, start)
    if start != "shipped" or n_future == 1:
        return opened.with_heads(n_future, layout, start, seed)
    made = opened.with_heads(n_future, layout, start, seed, open_modules(opened, n_future - 1))
    print(f"{where}: heads 1 to {n_future - 1} are the multi-token modules that it ships")
    return made


def _take_heads(model: MTPForCausalLM, config: ModelConfig, n_future: int, where: str) -> None:
    """The first `n_future` heads of a multi-token model, which are what is configured."""
    found = model.config
    if found.n_future < n_future:
        raise ConfigError(f"{where} has n_future={found.n_future}, but n_future={n_future} is configured: at most as many")
    if n_future > 1 and (found.head_variant, found.head_stride) != (config.head_variant, config.head_stride):
        raise ConfigError(
            f"{where} has heads of model.head_variant={found.head_variant} and model.head_stride={found.head_stride}, but "
            f"{config.head_variant} and {config.head_stride} are configured"
        )
    if config.head_init is not None and n_future > 1:
        raise ConfigError(f"{where} has heads of its own: model.head_init={config.head_init} is not allowed, use null")
    model.keep_heads(n_future)


def parallelize(
    model: nn.Module,
    mesh: DeviceMesh,
    *,
    dtype: str,
    activation_checkpointing: bool,
    compile_backend: str | None = None,
    has_narrow_masters: bool = False,
) -> nn.Module:
    """FSDP2 over `mesh`: every decoder block a unit, the rest (embedding, norm, unembedding) with the root.

    Activation checkpointing wraps blocks before they are compiled and sharded; the NLL stays outside of it. Parameters
    and reductions are float32; `dtype` is what is computed in. On a CPU the gathered parameters stay until the backward
    pass: gathering twice costs more time than a laptop has, and memory is not what it lacks. The next block is gathered while
    one is at work. A model that was opened and not read is filled and proven here.

    Args:
        has_narrow_masters: parameters are bfloat16, and so are gradients once they are reduced.
    """
    backbone = model if isinstance(model, MTPForCausalLM) else model.backbone
    assert isinstance(backbone, MTPForCausalLM)
    computed_in = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    policy = MixedPrecisionPolicy(param_dtype=computed_in, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for parameter in model.parameters() if has_narrow_masters else ():
        parameter.data = parameter.data.bfloat16()  # buffers stay: rotary frequencies need their bits
    keep: dict[str, Any] = {"mesh": mesh, "mp_policy": policy, "reshard_after_forward": mesh.device_type != "cpu"}
    slices = unread(backbone)
    if slices is None:
        model.to(mesh.device_type)
    units: list[Any] = []
    for blocks, index in backbone.blocks():
        wrapped = checkpoint_wrapper(blocks[index]) if activation_checkpointing else blocks[index]
        if compile_backend is not None:
            wrapped.compile(backend=compile_backend)
        fully_shard(wrapped, **keep)
        blocks[index] = wrapped
        units.append(wrapped)
    if model is backbone and not backbone.config.tie_word_embeddings:
        fully_shard(backbone.unembedding, **keep)
        for name in FORWARD_METHODS:
            register_fsdp_forward_method(backbone.unembedding, name)
    if model is backbone and backbone.token_order is not None:
        fully_shard(backbone.token_order, **keep)
    fully_shard(model, **keep)
    if slices is not None:
        slices.fill(model, backbone, torch.device(mesh.device_type))
        slices.prove(model, backbone, is_narrow=has_narrow_masters or dtype == "bfloat16")  # which has no room for two blocks
    for unit, following in pairwise(units[: len(backbone.layers)]):  # to head 0, which always runs; backward FSDP knows itself
        unit.set_modules_to_forward_prefetch([following])
    return model
