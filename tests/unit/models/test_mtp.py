"""The model against its definition: heads, causality, caching, saving, and other people's checkpoints."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from wmtp.config.training import ModelConfig
from wmtp.errors import CheckpointError, ConfigError
from wmtp.models import MTPForCausalLM
from wmtp.models.build import build_model
from wmtp.models.convert import from_causal_lm, meta_mtp, split_rotary_halves
from wmtp.models.value import ValueModel, load_value_model, save_value_model
from wmtp.objectives import shift_labels
from wmtp.types import IGNORE_INDEX

VOCAB = 31


def tiny(n_future=3, tie=True, seed=0, **changes):
    shape = {"hidden_size": 16, "intermediate_size": 24, "n_layers": 4, "n_heads": 2, "n_kv_heads": 1} | changes
    config = ModelConfig(**shape, n_future=n_future, tie_embeddings=tie)
    model = build_model(config, vocab_size=VOCAB, max_length=64, pad_token_id=0, eos_token_id=1, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


@pytest.fixture
def ids():
    return torch.randint(2, VOCAB, (3, 12), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("tie", [True, False])
def test_nll_of_every_head_is_its_logits_cross_entropy(ids, tie):
    model = tiny(tie=tie)
    labels = shift_labels(ids.masked_fill(torch.arange(12) < 3, IGNORE_INDEX), 3)
    output = model(input_ids=ids, labels_BTH=labels, return_entropy=True)
    for h, logits in enumerate(model.head_logits(ids)):
        expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels[..., h], reduction="none")
        torch.testing.assert_close(output.nll_BTH[..., h], expected, rtol=1e-5, atol=1e-5)
        p = logits.softmax(-1)
        torch.testing.assert_close(output.entropy_BTH[..., h], -(p * p.log()).sum(-1), rtol=1e-4, atol=1e-5)


def test_no_head_sees_the_future(ids):
    """Gradient of every position's NLL with respect to later inputs is exactly zero."""
    model = tiny()
    embeds = model.embed(ids).detach().requires_grad_()
    nll = model(inputs_embeds=embeds, labels_BTH=shift_labels(ids, 3)).nll_BTH
    for position in (0, 4, 8):
        (grad,) = torch.autograd.grad(nll[:, position].sum(), embeds, retain_graph=True)
        assert (grad[:, position + 1 :] == 0).all() and (grad[:, : position + 1] != 0).any()


def test_right_padding_changes_nothing(ids):
    model = tiny()
    padded = torch.cat([ids, torch.zeros(3, 4, dtype=torch.long)], dim=1)
    labels = shift_labels(ids, 3)
    padded_labels = shift_labels(padded.masked_fill(torch.arange(16) >= 12, IGNORE_INDEX), 3)
    torch.testing.assert_close(
        model(input_ids=padded, labels_BTH=padded_labels).nll_BTH[:, :12], model(input_ids=ids, labels_BTH=labels).nll_BTH
    )


@pytest.mark.parametrize("tie", [True, False])
def test_saved_model_loads_by_auto_class_and_generates_as_without_a_cache(ids, tmp_path, tie):
    model = tiny(tie=tie)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, MTPForCausalLM) and loaded.config.n_future == 3
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits)
    generated = loaded.generate(ids, max_new_tokens=9, do_sample=False, eos_token_id=None)
    expected = ids
    for _ in range(9):
        expected = torch.cat([expected, model(expected).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(generated, expected)


def test_the_same_number_of_layers_for_every_n_future():
    assert sum(p.numel() for p in tiny(n_future=1).parameters()) == sum(p.numel() for p in tiny(n_future=4).parameters())


def test_a_new_model_starts_as_the_identity_with_unit_inputs():
    model = build_model(ModelConfig(), vocab_size=500, max_length=64, pad_token_id=0, eos_token_id=1, seed=0)
    ids = torch.arange(2, 50)[None]
    embeds = model.embed(ids)
    assert embeds.std().item() == pytest.approx(1.0, abs=0.05)
    args = model._prepare(embeds, None, None, None)
    assert torch.equal(model._trunk(embeds, args), embeds)
    again = build_model(ModelConfig(), vocab_size=500, max_length=64, pad_token_id=0, eos_token_id=1, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def llama(**changes):
    torch.manual_seed(0)
    keys = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, max_position_embeddings=64, **keys, **changes)).eval()


@pytest.mark.parametrize("tie", [True, False])
def test_from_causal_lm_keeps_the_model_and_copies_its_last_layer(ids, tie):
    source = llama(tie_word_embeddings=tie)
    model = from_causal_lm(source, 4).eval()
    torch.testing.assert_close(model(ids).logits, source(ids).logits)
    logits = model.head_logits(ids)
    assert len(logits) == 4 and all(torch.equal(x, logits[0]) for x in logits)


def test_pretrained_path_is_loaded_and_checked(ids, tmp_path):
    source = llama()
    source.save_pretrained(tmp_path)
    arguments = {"max_length": 64, "pad_token_id": 0, "eos_token_id": 1, "seed": 0}
    model = build_model(ModelConfig(pretrained=str(tmp_path), n_future=2), vocab_size=VOCAB, **arguments).eval()
    torch.testing.assert_close(model(ids).logits, source(ids).logits)
    with pytest.raises(ConfigError, match="31 embeddings, but the tokenizer has 99"):
        build_model(ModelConfig(pretrained=str(tmp_path)), vocab_size=99, **arguments)


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


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_value_model_round_trip_and_first_value(ids, tmp_path, head):
    model = ValueModel(tiny(n_future=1), head=head, reference_nll_input=True).eval()
    surprise = torch.rand(3, 12)
    assert (model(ids, surprise) == 0).all(), "probability one half before training"
    with torch.no_grad():
        model.head[-1].weight.normal_()
    save_value_model(model, model.state_dict(), tmp_path)
    loaded = load_value_model(tmp_path).eval()
    torch.testing.assert_close(loaded(ids, surprise), model(ids, surprise))
    assert not torch.allclose(loaded(ids, surprise), loaded(ids, surprise * 2))
    (tmp_path / "critic.json").unlink()
    with pytest.raises(CheckpointError, match="not a critic"):
        load_value_model(tmp_path)
