"""Other people's checkpoints compute here what they compute there."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.unit.models.tiny import llama, tiny
from wmtp.errors import CheckpointError
from wmtp.models.convert import from_causal_lm, meta_mtp, split_rotary_halves


@pytest.mark.parametrize("tie", [True, False])
def test_from_causal_lm_keeps_the_model_and_copies_its_last_layer(ids, tie):
    source = llama(tie_word_embeddings=tie)
    model = from_causal_lm(source, 4).eval()
    torch.testing.assert_close(model(ids).logits, source(ids).logits)
    logits = model.head_logits(ids)
    assert len(logits) == 4 and all(torch.equal(x, logits[0]) for x in logits)


def interleave(weight, head_dim):
    """The inverse of `split_rotary_halves`: what Meta's files hold."""
    rows, width = weight.shape
    return weight.view(rows // head_dim, 2, head_dim // 2, width).transpose(1, 2).reshape(rows, width)


def test_meta_checkpoint_becomes_the_same_model(ids, tmp_path):
    model = tiny(n_future=3, tie=False)
    model.config.embedding_multiplier = 1.0
    inner = {
        "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv",
        "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2",
        "mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    top = {"embed_tokens": "tok_embeddings", "unembedding.norm": "norm", "unembedding.lm_head": "output"}
    tensors = {}
    for key, value in model.state_dict().items():
        name = key.removesuffix(".weight")
        if name in top:
            tensors[f"{top[name]}.weight"] = value
            continue
        group, number, rest = name.split(".", 2)
        place = f"layers.{number}" if group == "layers" else "layers.1" if number == "0" else f"extra_heads.{int(number) - 1}"
        value = interleave(value, 8) if rest.endswith(("q_proj", "k_proj")) else value
        tensors[f"{place}.{inner[rest]}.weight"] = value
    (tmp_path / "meta").mkdir()
    torch.save(tensors, tmp_path / "meta" / "consolidated.pth")
    params = {
        "dim": 16,
        "n_layers": 4,
        "n_heads": 2,
        "n_kv_heads": 1,
        "norm_eps": model.config.rms_norm_eps,
        "n_future_tokens": 3,
    }
    (tmp_path / "meta" / "params.json").write_text(json.dumps(params))
    meta_mtp(tmp_path / "meta", tmp_path / "hf")
    converted = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    for ours, theirs in zip(model.head_logits(ids), converted.head_logits(ids), strict=True):
        torch.testing.assert_close(theirs, ours)
    with pytest.raises(CheckpointError, match="does not hold"):
        meta_mtp(tmp_path / "nowhere", tmp_path / "hf")


def test_rotary_rows_are_split_into_halves():
    assert split_rotary_halves(torch.arange(8.0).view(8, 1), 4).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
