"""Other people's checkpoints compute here what they compute there."""

import json

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.unit.models.tiny import llama, tiny
from wmtp.errors import CheckpointError
from wmtp.models.convert import from_causal_lm, meta_mtp, split_rotary_halves

SIZES = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2}


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


def test_rotary_rows_come_from_where_metas_pairs_are():
    """Meta turns rows 2i and 2i+1 of a head together, transformers rows i and i + half."""
    head_dim, rows = 6, 12
    ours = split_rotary_halves(torch.arange(float(rows)).view(rows, 1), head_dim).flatten().tolist()
    for head in range(rows // head_dim):
        for i in range(head_dim // 2):
            first = head * head_dim
            assert (ours[first + i], ours[first + head_dim // 2 + i]) == (first + 2 * i, first + 2 * i + 1)


def test_a_model_of_another_architecture_is_refused_by_its_tensors():
    other = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=2, n_positions=16))
    with pytest.raises(CheckpointError, match="gpt2 model is not a Llama-like model: it has no hidden_size, intermediate_size"):
        from_causal_lm(other, 2)
    normed = Qwen3ForCausalLM(Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8))
    with pytest.raises(CheckpointError, match=r"qwen3 model is not a Llama-like model: missing \[\], unexpected .*q_norm"):
        from_causal_lm(normed, 2)
    biased = LlamaForCausalLM(LlamaConfig(**SIZES, attention_bias=True))
    assert from_causal_lm(biased, 2).layers[0].self_attn.q_proj.bias is not None


def test_heads_are_copies_and_not_the_same_tensors():
    model = from_causal_lm(llama(), 2)
    first, second = (head.mlp.up_proj.weight for head in model.heads)
    with torch.no_grad():
        first.add_(1.0)
    assert not torch.equal(first, second)


def test_meta_files_that_are_not_what_they_describe_are_named(tmp_path):
    tensors = {
        "tok_embeddings.weight": torch.zeros(5, 4),
        "norm.weight": torch.zeros(4),
        "output.weight": torch.zeros(5, 4),
        "layers.0.feed_forward.w1.weight": torch.zeros(6, 4),
    }
    torch.save(tensors, tmp_path / "consolidated.pth")
    (tmp_path / "params.json").write_text(json.dumps({"dim": 4, "n_layers": 1, "n_heads": 1}))
    with pytest.raises(CheckpointError, match=rf"{tmp_path} is not a Llama-like model: missing \['heads.0"):
        meta_mtp(tmp_path, tmp_path / "hf")
    (tmp_path / "params.json").write_text(json.dumps({"dim": 8, "n_layers": 1, "n_heads": 1}))
    with pytest.raises(CheckpointError, match=rf"{tmp_path} is not a Llama-like model: size mismatch for .*: copying a param"):
        meta_mtp(tmp_path, tmp_path / "hf")
