"""Meta's released multi-token checkpoints as MTPForCausalLM's folder, and back, a few tensors at a time.

Meta turns neighbouring rows of a query or key head together, transformers rows that are half a head apart.
Source: Gloeckle et al. 2024, arXiv 2404.19737, released checkpoints; llama-models for scaled rotary embeddings.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import GenerationConfig, LlamaConfig

from wmtp import model_files
from wmtp.errors import ModelError, first_line
from wmtp.files import write_json
from wmtp.models.heads import HeadLayout
from wmtp.models.meta_files import FREQUENCIES, MetaFiles
from wmtp.models.mtp import MTPConfig, MTPForCausalLM
from wmtp.models.new_folder import new_folder
from wmtp.models.sentencepiece_tokenizer import MODEL_FILE, write_tokenizer
from wmtp.models.shards import SHARD_BYTES, write_shards

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
_SCALED = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""What `use_scaled_rope` means where params.json says no more: Llama 3.1's numbers."""


@dataclass(frozen=True)
class Converted:
    """What was written."""

    num_parameters: int
    num_heads: int
    has_tokenizer: bool


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
    config = _config(files)
    names = _names(files.shapes, config.decoder_config)
    _require_fit({name: files.shapes[theirs] for name, theirs in names.items()}, config, source)
    _require_frequencies(files, config.decoder_config)
    head_dim = config.decoder_config.hidden_size // config.decoder_config.num_attention_heads

    def read(wanted: Sequence[str]) -> dict[str, torch.Tensor]:
        tensors = files.read([names[name] for name in wanted])
        return {
            name: split_rotary_halves(tensors[names[name]], head_dim) if _is_turned(name) else tensors[names[name]]
            for name in wanted
        }

    with new_folder(target, source) as folder:
        shapes = {name: files.shapes[theirs] for name, theirs in names.items()}
        write_shards(folder, shapes, files.dtype, read, shard_bytes=max(2**26, min(SHARD_BYTES, files.largest_bytes // 8)))
        has_tokenizer = tokenizer and (source / MODEL_FILE).exists()
        special = write_tokenizer(source / MODEL_FILE, folder) if has_tokenizer else {}
        config.architectures, config.dtype = [MTPForCausalLM.__name__], files.dtype
        config.save_pretrained(folder)
        GenerationConfig(**special).save_pretrained(folder)
    return Converted(sum(shape.numel() for shape in shapes.values()), config.n_future, has_tokenizer)


def to_meta(source: Path, target: Path, *, tokenizer: bool = True) -> Converted:
    """The way back: a Llama with heads as Meta's `consolidated.pth` and `params.json`, and its tokenizer.model.

    Raises:
        ModelError: `source` is not whole, or no multi-token model of Llama's kind, or has what Meta's files have no place for.
        ConfigError: `target` is there already.
    """
    model_files.require_model(source)
    config = _llama_with_heads(source)
    llama = config.decoder_config
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in MTPForCausalLM(config).state_dict().items()}
    ours = {_theirs(name, llama.num_hidden_layers - 1): name for name in shapes}
    head_dim = llama.hidden_size // llama.num_attention_heads
    tensors = {}
    held = {name: path for path in model_files.weight_files(source) for name in model_files.tensor_names(path)}
    for theirs, name in ours.items():
        stored = "model.embed_tokens.weight" if name not in held and name == _TOP["output.weight"] else name
        if stored not in held:
            raise ModelError(f"{source}: tensor {name} is missing")
        with safe_open(held[stored], framework="pt") as file:  # mapped: it is read when it is written
            tensor = file.get_tensor(stored)
        tensors[theirs] = join_rotary_halves(tensor, head_dim) if _is_turned(name) else tensor
    with new_folder(target, source) as folder:
        torch.save(tensors, folder / "consolidated.pth")
        write_json(folder / "params.json", _params(config, tensors))
        has_tokenizer = tokenizer and (source / MODEL_FILE).exists()
        if has_tokenizer:
            shutil.copyfile(source / MODEL_FILE, folder / MODEL_FILE)
    return Converted(sum(tensor.numel() for tensor in tensors.values()), config.n_future, has_tokenizer)


# --------------------------------------------------------------------------------------- settings


def _config(files: MetaFiles) -> MTPConfig:
    params, shapes = files.params, files.shapes
    where = files.folder / "params.json"
    sizes = {name: _whole(params, name, where) for name in ("dim", "n_layers", "n_heads")}
    for name in (*_TOP, "layers.0.feed_forward.w1.weight", "layers.0.attention.wk.weight"):
        if name not in shapes:
            raise ModelError(f"{files.folder} is not what its params.json describes: {name} is missing")
    extra = {key.split(".")[1] for key in shapes if key.startswith("extra_heads.")}
    n_future = int(params.get("n_future_tokens") or 1 + len(extra))
    rope = {"rope_type": "default", "rope_theta": float(params.get("rope_theta", 10000.0))}
    if params.get("use_scaled_rope"):
        scale = {"factor": "rope_scaling_factor", "high_freq_factor": "rope_high_freq_factor"}
        rope |= _SCALED | {ours: float(params[theirs]) for ours, theirs in scale.items() if params.get(theirs) is not None}
        rope["rope_type"] = "llama3"
    llama = LlamaConfig(
        vocab_size=shapes["output.weight"][0],
        hidden_size=sizes["dim"],
        intermediate_size=shapes["layers.0.feed_forward.w1.weight"][0],
        num_hidden_layers=sizes["n_layers"] - n_future + 1,
        num_attention_heads=sizes["n_heads"],
        num_key_value_heads=_kv_heads(files, sizes),
        rms_norm_eps=float(params.get("norm_eps", 1e-5)),
        rope_parameters=rope,
        max_position_embeddings=int(params.get("max_seq_len") or (131072 if params.get("use_scaled_rope") else 4096)),
        tie_word_embeddings=False,
    )
    return MTPConfig(text_config=llama, n_future=n_future)


def _whole(params: Mapping[str, Any], name: str, where: Path) -> int:
    value = params.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{where} must say {name}, a positive whole number, and says {value!r}")
    return value


def _kv_heads(files: MetaFiles, sizes: Mapping[str, int]) -> int:
    """`n_kv_heads`; without it there are as many as query heads, which the tensors must agree to."""
    heads, where = sizes["n_heads"], files.folder / "params.json"
    if sizes["dim"] % heads:
        raise ModelError(f"{where} says dim={sizes['dim']}, which {heads} heads do not divide")
    given = files.params.get("n_kv_heads")
    rows, head_dim = files.shapes["layers.0.attention.wk.weight"][0], sizes["dim"] // heads
    if given is None and rows != sizes["dim"]:
        raise ModelError(
            f"{where} says no n_kv_heads, and wk has {rows} rows: {rows / head_dim:g} heads of {head_dim}, not {heads}"
        )
    return heads if given is None else _whole(files.params, "n_kv_heads", where)


def _params(config: MTPConfig, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    llama = config.decoder_config
    rope = llama.rope_parameters
    params = {
        "dim": llama.hidden_size,
        "n_layers": llama.num_hidden_layers - 1 + config.n_future,
        "n_heads": llama.num_attention_heads,
        "n_kv_heads": llama.num_key_value_heads,
        "vocab_size": tensors["output.weight"].shape[0],
        "norm_eps": llama.rms_norm_eps,
        "rope_theta": rope["rope_theta"],
        "max_seq_len": llama.max_position_embeddings,
        "n_future_tokens": config.n_future,
    }
    if rope["rope_type"] == "llama3":
        more = {"rope_scaling_factor": rope["factor"], "rope_high_freq_factor": rope["high_freq_factor"]}
        params |= {"use_scaled_rope": True, **more}
    return params


def _llama_with_heads(source: Path) -> MTPConfig:
    kind = model_files.read_object(source / model_files.CONFIG)["model_type"]
    if kind != MTPConfig.model_type:
        raise ModelError(f"{source} is a {kind} model, and Meta's files are of multi-token ones")
    config = MTPConfig.from_pretrained(source)
    llama = config.decoder_config
    if llama.model_type != "llama":
        raise ModelError(f"{source} has heads on a {llama.model_type} model, and Meta's files are of Llamas")
    if config.n_future > 1 and config.layout != HeadLayout():
        kind = f"{config.head_variant} heads that read {config.head_reads}"
        raise ModelError(f"{source} has {kind}, and Meta's files are of parallel ones that read the trunk")
    rope = llama.rope_parameters
    same = {key: float(_SCALED[key]) for key in ("low_freq_factor", "original_max_position_embeddings")}
    if rope["rope_type"] not in ("default", "llama3") or any(float(rope.get(k, v)) != v for k, v in same.items()):
        raise ModelError(f"{source}: Meta's files have no place for rotary embeddings of {rope}")
    for key in ("attention_bias", "mlp_bias"):
        if getattr(llama, key):
            raise ModelError(f"{source} has {key}, and Meta's files have no place for it")
    if llama.head_dim != llama.hidden_size // llama.num_attention_heads:
        raise ModelError(f"{source}: Meta's files have no place for head_dim={llama.head_dim}")
    return config


# --------------------------------------------------------------------------------------- tensors


def _names(shapes: Mapping[str, torch.Size], llama: Any) -> dict[str, str]:
    """Our name -> Meta's, of all tensors but the rotary frequencies, which follow from the settings."""
    return {_ours(name, llama.num_hidden_layers - 1): name for name in shapes if not name.endswith(FREQUENCIES)}


def _ours(name: str, trunk: int) -> str:
    """A name that Meta does not use stays as it is, and is then of no part of the model."""
    group, _, rest = name.partition(".")
    number, _, inner = rest.partition(".")
    inner = _NAMES.get(inner.removesuffix(".weight"), "")
    if name in _TOP or group not in ("layers", "extra_heads") or not inner or not number.isdigit():
        return _TOP.get(name, name)
    head = int(number) - trunk if group == "layers" else 1 + int(number)
    place = f"model.layers.{int(number)}" if head < 0 else f"model.layers.{trunk}.blocks.{head}"
    return f"{place}.{inner}.weight"


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
