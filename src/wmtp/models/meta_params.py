"""Meta's `params.json` as the configuration of a Llama with heads, and back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import LlamaConfig

from wmtp.errors import ModelError, described
from wmtp.models.heads import HeadLayout
from wmtp.models.meta_files import MetaFiles
from wmtp.models.mtp import MTPConfig

_SCALED = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""What `use_scaled_rope` means where params.json says no more: Llama 3.1's numbers."""
_SCALES = {"factor": "rope_scaling_factor", "high_freq_factor": "rope_high_freq_factor"}

_READ = (
    *("dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "norm_eps", "max_seq_len", "n_future_tokens"),
    *("rope_theta", "use_scaled_rope", *_SCALES.values()),
)
_OF_NO_MATTER = ("multiple_of", "ffn_dim_multiplier", "max_batch_size")
"""How Meta's code comes to sizes that tensors have anyway, and what it has room for."""

_ELSEWHERE = (
    *(
        "architectures",
        "dtype",
        "transformers_version",
        "_name_or_path",
        "use_cache",
        "initializer_range",
        "tie_word_embeddings",
    ),
    *("bos_token_id", "eos_token_id", "pad_token_id"),
)
"""Settings of a Llama that decide nothing of what its tensors compute, or that the tokenizer has."""

_BLOCK = re.compile(r"(layers|extra_heads)\.(\d+)\.", re.ASCII)


@dataclass(frozen=True)
class _Params:
    values: Mapping[str, Any]
    where: Path

    def whole(self, name: str, default: int | None = None) -> int:
        """A positive whole number; there must be one where there is no default."""
        value = self.values.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ModelError(f"{self.where} must say {name}, a positive whole number, and says {value!r}")
        return value

    def number(self, name: str, default: float) -> float:
        value = self.values.get(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise ModelError(f"{self.where}: {name} must be a positive number, and is {value!r}")
        return float(value)

    def flag(self, name: str) -> bool:
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            raise ModelError(f"{self.where}: {name} must be true or false, and is {value!r}")
        return value


def unread_keys(files: MetaFiles) -> list[str]:
    """Keys of params.json that say nothing here."""
    known = {*_READ, *_OF_NO_MATTER} - (set() if files.params.get("use_scaled_rope") else {*_SCALES.values()})
    return sorted(files.params.keys() - known)


def config_of(files: MetaFiles) -> MTPConfig:
    """What params.json describes, of the files' sizes where it leaves them to these.

    Raises:
        ModelError: it lacks a number, has something else in its place, or counts other layers or tokens than the files hold.
    """
    params, shapes = _Params(files.params, files.folder / "params.json"), files.shapes
    for name in ("tok_embeddings", "norm", "output", "layers.0.feed_forward.w1", "layers.0.attention.wk"):
        if f"{name}.weight" not in shapes:
            raise ModelError(f"{files.folder} is not what its params.json describes: {name}.weight is missing")
    n_future = _num_heads(params, files)
    rows = shapes["output.weight"][0]
    if params.values.get("vocab_size", -1) not in (-1, rows):  # -1: the tokenizer's
        raise ModelError(f"{params.where} says vocab_size={params.values['vocab_size']!r}, and output.weight has {rows} rows")
    kv_heads = _kv_heads(params, shapes["layers.0.attention.wk.weight"][0])
    llama = _llama(params, rows, shapes["layers.0.feed_forward.w1.weight"][0], kv_heads, n_future)
    return MTPConfig(text_config=llama, n_future=n_future)


def _llama(params: _Params, vocab_size: int, inner: int, kv_heads: int, n_future: int) -> LlamaConfig:
    is_scaled = params.flag("use_scaled_rope")
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": params.number("rope_theta", 10000.0)}
    if is_scaled:
        factors = {ours: params.number(theirs, _SCALED[ours]) for ours, theirs in _SCALES.items()}
        rope |= {**_SCALED, **factors, "rope_type": "llama3"}
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=params.whole("dim"),
        intermediate_size=inner,
        num_hidden_layers=params.whole("n_layers") - n_future + 1,
        num_attention_heads=params.whole("n_heads"),
        num_key_value_heads=kv_heads,
        rms_norm_eps=params.number("norm_eps", 1e-5),
        rope_parameters=rope,
        max_position_embeddings=params.whole("max_seq_len", 131072 if is_scaled else 4096),
        tie_word_embeddings=False,
    )


def _num_heads(params: _Params, files: MetaFiles) -> int:
    """`n_future_tokens`, which with `n_layers` must be what the files hold: a layer too many would be taken for a head."""
    found: dict[str, set[int]] = {"layers": set(), "extra_heads": set()}
    for match in filter(None, map(_BLOCK.match, files.shapes)):
        found[match[1]].add(int(match[2]))
    layers, heads = (len(numbers) for numbers in found.values())
    n_future, n_layers = params.whole("n_future_tokens", 1 + heads), params.whole("n_layers")
    if (n_layers, n_future) != (layers + heads, 1 + heads):
        said = f"n_layers={n_layers} and n_future_tokens={n_future}"
        raise ModelError(f"{params.where} says {said}, and the files hold {layers} layers and {heads} extra heads")
    return n_future


def _kv_heads(params: _Params, rows: int) -> int:
    """`n_kv_heads`; without it there are as many as query heads, which the tensors must agree to."""
    dim, heads = params.whole("dim"), params.whole("n_heads")
    if dim % heads:
        raise ModelError(f"{params.where} says dim={dim}, which {heads} heads do not divide")
    is_given = params.values.get("n_kv_heads") is not None
    if not is_given and rows != dim:
        head_dim = dim // heads
        raise ModelError(
            f"{params.where} says no n_kv_heads, and wk has {rows} rows: {rows / head_dim:g} heads of {head_dim}, not {heads}"
        )
    return params.whole("n_kv_heads") if is_given else heads


def params_of(config: MTPConfig, where: str) -> dict[str, Any]:
    """What params.json says of a Llama with heads.

    Raises:
        ModelError: it is another model, or its settings say what Meta's files have no place for.
    """
    llama = config.decoder_config
    if llama.model_type != "llama":
        raise ModelError(f"{where} has heads on a {llama.model_type} model, and Meta's files are of Llamas")
    if config.n_future > 1 and config.layout != HeadLayout():
        kind = f"{config.head_variant} heads that read {config.head_reads}"
        raise ModelError(f"{where} has {kind}, and Meta's files are of parallel ones that read the trunk")
    rope = llama.rope_parameters
    params = {
        "dim": llama.hidden_size,
        "n_layers": llama.num_hidden_layers - 1 + config.n_future,
        "n_heads": llama.num_attention_heads,
        "n_kv_heads": llama.num_key_value_heads,
        "vocab_size": llama.vocab_size,
        "norm_eps": llama.rms_norm_eps,
        "rope_theta": rope["rope_theta"],
        "max_seq_len": llama.max_position_embeddings,
        "n_future_tokens": config.n_future,
    }
    if rope["rope_type"] == "llama3":
        params |= {"use_scaled_rope": True, **{theirs: rope[ours] for ours, theirs in _SCALES.items()}}
    _require_place(llama, params, config.n_future, where)
    return params


def _require_place(llama: Any, params: Mapping[str, Any], n_future: int, where: str) -> None:
    """Raises ModelError: what is read again from `params` is another Llama."""
    try:
        sizes = llama.vocab_size, llama.intermediate_size, llama.num_key_value_heads
        again = _llama(_Params(params, Path(where)), *sizes, n_future).to_dict()
    except Exception as error:  # transformers raises whatever it meets in somebody's settings
        raise ModelError(f"{where}: Meta's files have no place for its settings: {described(error)}") from None
    for key, value in llama.to_dict().items():
        if key not in _ELSEWHERE and again.get(key) != value:
            raise ModelError(f"{where}: Meta's files have no place for {key}={value!r}")
