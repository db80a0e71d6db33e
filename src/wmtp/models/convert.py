"""Other people's checkpoints as MTPForCausalLM: any Llama-like causal LM, and Meta's released MTP files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from wmtp.errors import CheckpointError
from wmtp.models.mtp import MTPConfig, MTPForCausalLM

if TYPE_CHECKING:
    from transformers import PreTrainedModel


_LLAMA_KEYS = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size")


def from_causal_lm(model: PreTrainedModel, n_future: int) -> MTPForCausalLM:
    """Put heads on a Llama-like model: its last layer becomes head 0, and a copy of it every further head.

    Head 0 then computes exactly what the model did.

    Args:
        model: a transformers model with `model.{embed_tokens,layers,norm}` and `lm_head` of Llama's shapes.
    Raises:
        CheckpointError: the architecture is not Llama's.
    """
    source = model.config.to_dict()
    lacking = [key for key in _LLAMA_KEYS if key not in source]
    if lacking:
        raise CheckpointError(f"{model.config.model_type} model is not a Llama-like model: it has no {', '.join(lacking)}")
    keys = {key: source[key] for key in MTPConfig().to_dict() if key in source}
    for key in ("model_type", "architectures", "transformers_version"):
        keys.pop(key, None)
    trunk = model.config.num_hidden_layers - 1
    config = MTPConfig(**{**keys, "num_hidden_layers": trunk + n_future, "n_future": n_future, "embedding_multiplier": 1.0})
    renamed = {}
    for key, value in model.state_dict().items():
        name = key.removeprefix("model.")
        if name.startswith(f"layers.{trunk}."):
            rest = name.removeprefix(f"layers.{trunk}.")
            renamed.update({f"heads.{h}.{rest}": value.clone() for h in range(n_future)})
        elif name in ("norm.weight", "lm_head.weight"):
            renamed[f"unembedding.{name}"] = value
        else:
            renamed[name] = value
    return _filled(config, renamed, f"{model.config.model_type} model")


def meta_mtp(source: Path, target: Path) -> MTPForCausalLM:
    """Read Meta's `consolidated.pth` + `params.json` and write a Hugging Face folder.

    `layers.N` after the trunk is head 0 and `extra_heads.K` is head K+1. Meta interleaves rotary pairs where
    transformers splits halves, so the query and key rows are permuted.

    Raises:
        CheckpointError: a file is missing, or its tensors are not what params.json describes.
    Source: Gloeckle et al. 2024, arXiv 2404.19737, released checkpoints.
    """
    try:
        params = json.loads((source / "params.json").read_text(encoding="utf-8"))
        tensors = torch.load(source / "consolidated.pth", map_location="cpu", mmap=True, weights_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{source} does not hold Meta's consolidated.pth and params.json: {error}") from None
    config = _meta_config(params, tensors)
    model = _filled(config, _rename_meta(tensors, config), str(source))
    model.save_pretrained(target)
    return model


def _meta_config(params: dict[str, float], tensors: dict[str, torch.Tensor]) -> MTPConfig:
    n_future = int(
        params.get("n_future_tokens", 1 + len({key.split(".")[1] for key in tensors if key.startswith("extra_heads.")}))
    )
    heads = int(params["n_heads"])
    return MTPConfig(
        vocab_size=tensors["output.weight"].shape[0],
        hidden_size=int(params["dim"]),
        intermediate_size=tensors["layers.0.feed_forward.w1.weight"].shape[0],
        num_hidden_layers=int(params["n_layers"]),
        num_attention_heads=heads,
        num_key_value_heads=int(params.get("n_kv_heads") or heads),
        rms_norm_eps=float(params.get("norm_eps", 1e-5)),
        rope_parameters={"rope_type": "default", "rope_theta": float(params.get("rope_theta", 10000.0))},
        max_position_embeddings=int(params.get("max_seq_len", 4096)),
        tie_word_embeddings=False,
        n_future=n_future,
        embedding_multiplier=1.0,
    )


_META_NAMES = {
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
_META_TOP = {
    "tok_embeddings.weight": "embed_tokens.weight",
    "norm.weight": "unembedding.norm.weight",
    "output.weight": "unembedding.lm_head.weight",
}


def _rename_meta(tensors: dict[str, torch.Tensor], config: MTPConfig) -> dict[str, torch.Tensor]:
    renamed = {}
    for key, value in tensors.items():
        if key in _META_TOP:
            renamed[_META_TOP[key]] = value
        elif key.startswith(("layers.", "extra_heads.")):
            group, number, *rest = key.split(".")
            inner = _META_NAMES[".".join(rest[:-1])]
            index = int(number) if group == "layers" else config.num_trunk_layers + 1 + int(number)
            head = index - config.num_trunk_layers
            place = f"layers.{index}" if head < 0 else f"heads.{head}"
            if inner.endswith(("q_proj", "k_proj")):
                value = split_rotary_halves(value, config.hidden_size // config.num_attention_heads)
            renamed[f"{place}.{inner}.weight"] = value
    return renamed


def split_rotary_halves(weight: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows of each head from interleaved rotary pairs (0,1,0,1,…) to halves (0,0,…,1,1,…)."""
    rows, width = weight.shape
    return weight.view(rows // head_dim, head_dim // 2, 2, width).transpose(1, 2).reshape(rows, width)


def _filled(config: MTPConfig, state: dict[str, torch.Tensor], where: str) -> MTPForCausalLM:
    model = MTPForCausalLM(config)
    torch.nn.Module.to(model, next(iter(state.values())).dtype)
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{where} is not a Llama-like model: {reason}") from None
    if config.tie_word_embeddings:
        missing = [key for key in missing if key != "unembedding.lm_head.weight"]
    unexpected = [key for key in unexpected if not key.endswith("rotary_emb.inv_freq") and key != "rope.freqs"]
    if missing or unexpected:
        raise CheckpointError(f"{where} is not a Llama-like model: missing {missing[:3]}, unexpected {unexpected[:3]}")
    return model
