"""Meta's checkpoints compute here what they compute there."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tests.unit.models.tiny import VOCAB
from wmtp.errors import CheckpointError
from wmtp.models import MTPConfig, MTPForCausalLM
from wmtp.models.convert import meta_mtp, split_rotary_halves


def interleave(weight, head_dim):
    """The inverse of `split_rotary_halves`: what Meta's files hold."""
    rows, width = weight.shape
    return weight.view(rows // head_dim, 2, head_dim // 2, width).transpose(1, 2).reshape(rows, width)


def test_meta_checkpoint_becomes_the_same_model(ids, tmp_path):
    llama = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = MTPForCausalLM(MTPConfig(text_config=llama, n_future=3)).eval()
    inner = {
        "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv",
        "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2",
        "mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    top = {"model.embed_tokens": "tok_embeddings", "model.norm": "norm", "unembedding.lm_head": "output"}
    tensors = {}
    for key, value in model.state_dict().items():
        name = key.removesuffix(".weight")
        if name in top:
            tensors[f"{top[name]}.weight"] = value
            continue
        number, rest = name.removeprefix("model.layers.").split(".", 1)
        place = f"layers.{number}"
        if rest.startswith("blocks."):
            _, head, rest = rest.split(".", 2)
            place = "layers.1" if head == "0" else f"extra_heads.{int(head) - 1}"
        value = interleave(value, 8) if rest.endswith(("q_proj", "k_proj")) else value
        tensors[f"{place}.{inner[rest]}.weight"] = value
    (tmp_path / "meta").mkdir()
    torch.save(tensors, tmp_path / "meta" / "consolidated.pth")
    params = {
        "dim": 16,
        "n_layers": 4,
        "n_heads": 2,
        "n_kv_heads": 1,
        "norm_eps": llama.rms_norm_eps,
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


def test_meta_files_that_are_not_what_they_describe_are_named(tmp_path):
    tensors = {
        "tok_embeddings.weight": torch.zeros(5, 4),
        "norm.weight": torch.zeros(4),
        "output.weight": torch.zeros(5, 4),
        "layers.0.feed_forward.w1.weight": torch.zeros(6, 4),
    }
    torch.save(tensors, tmp_path / "consolidated.pth")
    (tmp_path / "params.json").write_text(json.dumps({"dim": 4, "n_layers": 1, "n_heads": 1}))
    with pytest.raises(CheckpointError, match=rf"{tmp_path} is not what .* describes: missing \['model.layers.0.blocks.0"):
        meta_mtp(tmp_path, tmp_path / "hf")
    (tmp_path / "params.json").write_text(json.dumps({"dim": 8, "n_layers": 1, "n_heads": 1}))
    with pytest.raises(CheckpointError, match=rf"{tmp_path} is not what .* describes: size mismatch for .*: copying a param"):
        meta_mtp(tmp_path, tmp_path / "hf")
