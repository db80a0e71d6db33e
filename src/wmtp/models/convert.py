"""Meta's released multi-token checkpoints as MTPForCausalLM's folder, and back, a few tensors at a time.

Meta turns neighbouring rows of a query or key head together, transformers rows that are half a head apart.
Source: Gloeckle et al. 2024, arXiv 2404.19737, released checkpoints; llama-models for scaled rotary embeddings.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from wmtp.errors import CheckpointError, ModelError, first_line
from wmtp.files import write_json
from wmtp.models.checkpoint_file import write_checkpoint
from wmtp.models.load import require_numbers
from wmtp.models.meta_files import FREQUENCIES, MetaFiles
from wmtp.models.meta_params import config_of, params_of, unread_keys
from wmtp.models.mtp import MTPConfig, MTPForCausalLM
from wmtp.models.new_folder import new_folder
from wmtp.models.sentencepiece_tokenizer import MODEL_FILE, write_tokenizer
from wmtp.models.shards import SHARD_BYTES, write_shards
from wmtp.models.slices import open_model

_NAMES = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_TOP = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "unembedding.lm_head.weight",
}


@dataclass(frozen=True)
class Converted:
    """What was written. `unread`: keys of params.json that say nothing here."""

    num_parameters: int
    num_heads: int
    has_tokenizer: bool
    unread: tuple[str, ...] = ()


def from_meta(source: Path, target: Path, *, tokenizer: bool = True) -> Converted:
    """Read Meta's `consolidated*.pth`, `params.json` and `tokenizer.model`, and write a Hugging Face folder of the same dtype.

    `layers.N` after the trunk is head 0 and `extra_heads.K` is head K+1.

    Args:
        tokenizer: convert tokenizer.model, where there is one.
    Raises:
        ModelError: a file is missing or broken, or its tensors are not what params.json describes.
        ConfigError: `target` is there already.
    """
    files = MetaFiles.find(source)
    config = config_of(files)
    names = _names(files.shapes, config.decoder_config)
    _require_fit({name: files.shapes[theirs] for name, theirs in names.items()}, config, source)
    _require_frequencies(files, config.decoder_config)
    head_dim = config.decoder_config.hidden_size // config.decoder_config.num_attention_heads

    def read(wanted: Sequence[str]) -> dict[str, torch.Tensor]:
        tensors = files.read([names[name] for name in wanted])
        require_numbers(tensors.items(), str(source))
        return {
            name: split_rotary_halves(tensors[names[name]], head_dim) if _is_turned(name) else tensors[names[name]]
            for name in wanted
        }

    shapes = {name: files.shapes[theirs] for name, theirs in names.items()}
    num_parameters = sum(shape.numel() for shape in shapes.values())
    with new_folder(target, source, num_bytes=num_parameters * files.dtype.itemsize) as folder:
        has_tokenizer = tokenizer and os.path.lexists(source / MODEL_FILE)
        special = write_tokenizer(source / MODEL_FILE, folder, shapes[_TOP["output.weight"]][0]) if has_tokenizer else {}
        write_shards(folder, shapes, files.dtype, read, shard_bytes=max(2**26, min(SHARD_BYTES, files.largest_bytes // 8)))
        config.architectures, config.dtype = [MTPForCausalLM.__name__], files.dtype
        config.save_pretrained(folder)
        GenerationConfig(**special).save_pretrained(folder)
    return Converted(num_parameters, config.n_future, has_tokenizer, tuple(unread_keys(files)))


def to_meta(source: Path, target: Path, *, tokenizer: bool = True) -> Converted:
    """The way back: a Llama with heads as Meta's `consolidated.pth` and `params.json`, and its tokenizer.model.

    Raises:
        ModelError: `source` is not whole, or no multi-token model of Llama's kind, or has what Meta's files have no place for.
        ConfigError: `target` is there already.
    """
    opened = open_model(source, str(source))
    model = opened.model
    if not isinstance(model, MTPForCausalLM):
        raise ModelError(f"{source} is a {model.config.model_type} model, and Meta's files are of multi-token ones")
    config: Any = model.config
    params, llama = params_of(config, str(source)), config.decoder_config
    head_dim = llama.hidden_size // llama.num_attention_heads
    sources, tied = {}, (_TOP["tok_embeddings.weight"], _TOP["output.weight"])
    for name in model.state_dict():
        stored = name if name in opened.places else tied[1 - tied.index(name)]
        sources[_theirs(name, llama.num_hidden_layers - 1)] = (opened.places[stored], _is_turned(name))
    dtypes = {place.read((slice(0),)).dtype for place, _ in sources.values()}
    if len(dtypes) > 1:
        raise ModelError(f"{source} holds weights of several dtypes, and Meta's files are of one")
    (dtype,) = dtypes

    def read(name: str) -> torch.Tensor:
        place, is_turned = sources[name]
        return join_rotary_halves(place.read(), head_dim) if is_turned else place.read()

    shapes = {name: torch.Size(place.shape) for name, (place, _) in sources.items()}
    num_parameters = sum(shape.numel() for shape in shapes.values())
    num_bytes = num_parameters * dtype.itemsize
    with new_folder(target, source, num_bytes=num_bytes) as folder:
        try:
            write_checkpoint(folder / "consolidated.pth", shapes, dtype, read)
        except RuntimeError as error:  # torch keeps what the disk said to itself
            raise CheckpointError(f"{target}: {num_bytes:,} bytes cannot be written there: {first_line(error)}") from None
        write_json(folder / "params.json", params)
        has_tokenizer = tokenizer and os.path.lexists(source / MODEL_FILE)
        if has_tokenizer:
            shutil.copyfile(source / MODEL_FILE, folder / MODEL_FILE)
    return Converted(num_parameters, config.n_future, has_tokenizer)


# --------------------------------------------------------------------------------------- tensors


def _names(shapes: Mapping[str, torch.Size], llama: Any) -> dict[str, str]:
    """Our name -> Meta's, of all tensors but the rotary frequencies, which follow from the settings."""
    return {_ours(name, llama.num_hidden_layers - 1): name for name in shapes if not name.endswith(FREQUENCIES)}


def _ours(name: str, trunk: int) -> str:
    """A name that Meta does not use stays as it is, and is then of no part of the model."""
    group, _, rest = name.partition(".")
    number, _, inner = rest.partition(".")
    inner = _NAMES.get(inner.removesuffix(".weight"), "")
    if name in _TOP or group not in ("layers", "extra_heads") or not inner or number != _decimal(number):
        return _TOP.get(name, name)
    head = int(number) - trunk if group == "layers" else 1 + int(number)
    place = f"model.layers.{int(number)}" if head < 0 else f"model.layers.{trunk}.blocks.{head}"
    return f"{place}.{inner}.weight"


def _decimal(number: str) -> str | None:
    """A number as it is written here; `007` is another name than `7`."""
    return str(int(number)) if number.isascii() and number.isdigit() else None


def _theirs(name: str, trunk: int) -> str:
    """The inverse of `_ours`."""
    top = {ours: theirs for theirs, ours in _TOP.items()}
    if name in top:
        return top[name]
    number, inner = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
    place = f"layers.{number}"
    if inner.startswith("blocks."):
        _, head, inner = inner.split(".", 2)
        place = f"layers.{trunk}" if head == "0" else f"extra_heads.{int(head) - 1}"
    (theirs,) = (key for key, value in _NAMES.items() if value == inner)
    return f"{place}.{theirs}.weight"


def _is_turned(name: str) -> bool:
    return name.endswith(("q_proj.weight", "k_proj.weight"))


def split_rotary_halves(weight: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows of each head from interleaved rotary pairs (0,1,0,1,...) to halves (0,0,...,1,1,...)."""
    rows, width = weight.shape
    return weight.view(rows // head_dim, head_dim // 2, 2, width).transpose(1, 2).reshape(rows, width)


def join_rotary_halves(weight: torch.Tensor, head_dim: int) -> torch.Tensor:
    """The inverse of `split_rotary_halves`."""
    rows, width = weight.shape
    return weight.view(rows // head_dim, 2, head_dim // 2, width).transpose(1, 2).reshape(rows, width)


def _require_fit(found: Mapping[str, torch.Size], config: MTPConfig, source: Path) -> None:
    try:
        with torch.device("meta"):
            due = {name: tensor.shape for name, tensor in MTPForCausalLM(config).state_dict().items()}
    except Exception as error:  # sizes that no model can have
        raise ModelError(f"{source} is not what its params.json describes: {first_line(error)}") from None
    faults = [f"tensor {name} is missing" for name in due if name not in found]
    faults += [f"tensor {name} is of no part of the model" for name in found if name not in due]
    faults += [
        f"tensor {name} is {tuple(found[name])} and must be {tuple(shape)}"
        for name, shape in due.items()
        if name in found and found[name] != shape
    ]
    if faults:
        raise ModelError(f"{source} is not what its params.json describes: {faults[0]}")


def _require_frequencies(files: MetaFiles, llama: Any) -> None:
    """Frequencies that a file holds are those of its settings, before they are scaled."""
    names = [name for name in files.shapes if name.endswith(FREQUENCIES)]
    head_dim, theta = llama.hidden_size // llama.num_attention_heads, llama.rope_parameters["rope_theta"]
    due = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    for name, held in files.read(names).items():
        if held.shape != due.shape or not torch.allclose(held.double(), due, rtol=0.02):  # they may be bfloat16
            raise ModelError(f"{files.folder}: {name} are not the frequencies of rope_theta={theta:g}, which params.json says")
