"""Meta's released multi-token checkpoints as MTPForCausalLM."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import LlamaConfig

from wmtp.errors import CheckpointError
from wmtp.models.mtp import MTPConfig, MTPForCausalLM


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
    llama = LlamaConfig(
        vocab_size=tensors["output.weight"].shape[0],
        hidden_size=int(params["dim"]),
        intermediate_size=tensors["layers.0.feed_forward.w1.weight"].shape[0],
        num_hidden_layers=int(params["n_layers"]) - n_future + 1,
        num_attention_heads=heads,
        num_key_value_heads=int(params.get("n_kv_heads") or heads),
        rms_norm_eps=float(params.get("norm_eps", 1e-5)),
        rope_parameters={"rope_type": "default", "rope_theta": float(params.get("rope_theta", 10000.0))},
        max_position_embeddings=int(params.get("max_seq_len", 4096)),
        tie_word_embeddings=False,
    )
    return MTPConfig(text_config=llama, n_future=n_future)


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
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "unembedding.lm_head.weight",
}


def _rename_meta(tensors: dict[str, torch.Tensor], config: MTPConfig) -> dict[str, torch.Tensor]:
    renamed = {}
    llama = config.decoder_config
    trunk = llama.num_hidden_layers - 1
    for key, value in tensors.items():
        if key in _META_TOP:
            renamed[_META_TOP[key]] = value
        elif key.startswith(("layers.", "extra_heads.")):
            group, number, *rest = key.split(".")
            inner = _META_NAMES[".".join(rest[:-1])]
            head = int(number) - trunk if group == "layers" else 1 + int(number)
            place = f"model.layers.{int(number)}" if head < 0 else f"model.layers.{trunk}.blocks.{head}"
            if inner.endswith(("q_proj", "k_proj")):
                value = split_rotary_halves(value, llama.hidden_size // llama.num_attention_heads)
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
        raise CheckpointError(f"{where} is not what its params.json describes: {reason}") from None
    unexpected = [key for key in unexpected if key != "rope.freqs"]
    if missing or unexpected:
        raise CheckpointError(
            f"{where} is not what its params.json describes: missing {missing[:3]}, unexpected {unexpected[:3]}"
        )
    return model
