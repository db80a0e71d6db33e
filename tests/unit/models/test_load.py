"""Every load is proven: planted faults are found, and named in one line, before anything trains."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    FalconH1Config,
    FalconH1ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.unit.models.families import SEEING, VOCAB, family, seeing, with_encoder
from tests.unit.models.tiny import llama, tiny
from wmtp.errors import ModelError
from wmtp.models import mtp
from wmtp.models.load import from_causal_lm, prove_heads, read_heads, read_model
from wmtp.models.slices import open_model
from wmtp.models.unembedding import LogitRule


@pytest.mark.parametrize("tie", [True, False])
def test_heads_keep_the_model_and_copy_its_last_layer(ids, tie):
    source = llama(tie_word_embeddings=tie)
    expected = source(ids).logits
    model = from_causal_lm(source, 4)
    logits = model.head_logits(ids)
    assert len(logits) == 4 and all(torch.equal(x, expected) for x in logits)
    assert model.config.tie_word_embeddings == tie == (model.unembedding.lm_head.weight is model.get_input_embeddings().weight)


def test_a_scale_that_is_dropped_is_found(monkeypatch):
    monkeypatch.setattr(mtp.LogitRule, "of", classmethod(lambda cls, config: LogitRule()))
    for name in ("granite", "cohere", "gemma2"):
        with pytest.raises(ModelError, match=rf"{name} model: head 0 differs by \S+ from the model's own on random tokens"):
            from_causal_lm(family(name), 2)


def test_a_scale_that_only_the_nll_lacks_is_found(monkeypatch):
    monkeypatch.setattr(mtp.LogitRule, "scaled", lambda self, x: x if x.ndim == 2 else x / self.divisor)
    with pytest.raises(ModelError, match="granite model: head 0's NLL differs by"):
        from_causal_lm(family("granite"), 2)


def test_buffers_that_no_file_holds_are_computed_for_every_head(tmp_path, ids):
    """Falcon-H1's multipliers, which its own code fills in the layers where it looks for them."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 8}
    mamba = {
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_n_groups": 1,
        "mamba_d_state": 8,
        "mamba_chunk_size": 8,
    }
    config = FalconH1Config(
        vocab_size=VOCAB, num_key_value_heads=2, ssm_multipliers=[0.5, 0.6, 0.7, 0.8, 0.9], **sizes, **mamba
    )
    model = from_causal_lm(FalconH1ForCausalLM(config).eval(), 3)
    due = model.head_logits(ids)
    model.save_pretrained(tmp_path)
    for _ in range(3):
        used = [torch.full((1, 1, size), torch.nan) for size in range(50, 200)]
        del used  # memory that is taken again has what was there
        found = read_heads(tmp_path, "model").head_logits(ids)
        assert all(torch.equal(one, other) for one, other in zip(found, due, strict=True))


@pytest.mark.parametrize("name", ["mistral", "gemma3_text", "mixtral"])
def test_a_window_that_is_dropped_is_found(monkeypatch, name):
    """Windows of 4,096 tokens, too: the proof shortens them rather than to need longer texts."""
    real = mtp.MTPForCausalLM.__init__

    def windowless(self, config, source=None):
        real(self, config, source)
        config.decoder_config.sliding_window = 10**6

    monkeypatch.setattr(mtp.MTPForCausalLM, "__init__", windowless)
    with pytest.raises(ModelError, match=f"{name} model: head 0 differs by"):
        from_causal_lm(family(name, sliding_window=4096), 2)


def test_a_window_is_what_it_was_after_the_proof():
    assert from_causal_lm(family("mistral", sliding_window=4096), 2).config.decoder_config.sliding_window == 4096


def test_dropout_and_the_generators_are_left_alone():
    source = family("llama", attention_dropout=0.5).train()
    before = torch.get_rng_state()
    model = from_causal_lm(source, 2)
    assert model.training and torch.equal(torch.get_rng_state(), before)


def tampered(path, change):
    weights = load_file(path / "model.safetensors")
    change(weights)
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    return str(path)


def without(*names):
    return lambda weights: [weights.pop(name) for name in names]


FAULTS = {
    r"tensor model.layers.0.mlp.up_proj.weight is missing \(and 1 more\)": without(
        "model.layers.0.mlp.up_proj.weight", "model.layers.2.self_attn.q_proj.weight"
    ),
    "tensor model.layers.0.mlp.up_proj.bias is of no part of the model": lambda weights: weights.update(
        {"model.layers.0.mlp.up_proj.bias": torch.zeros(24)}
    ),
    r"tensor model.norm.weight is \(15,\) and must be \(16,\)": lambda weights: weights.update(
        {"model.norm.weight": torch.ones(15)}
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_tensor_that_is_missing_too_many_or_misshapen_is_named(tmp_path, fault):
    llama().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=f"^the model: {fault}$"):
        read_model(tampered(tmp_path, FAULTS[fault]), "the model")


ENCODER_FAULTS = {
    "tensor encoder.block.1.layer.1.DenseReluDense.wo.weight is missing": without(
        "encoder.block.1.layer.1.DenseReluDense.wo.weight"
    ),
    "tensor decoder.block.2.layer.0.layer_norm.weight is of no part of the model": lambda weights: weights.update(
        {"decoder.block.2.layer.0.layer_norm.weight": torch.zeros(32)}
    ),
    r"tensor encoder.final_layer_norm.weight is \(31,\) and must be \(32,\)": lambda weights: weights.update(
        {"encoder.final_layer_norm.weight": torch.ones(31)}
    ),
    "tensor shared.weight holds NaN or Inf": lambda weights: weights["shared.weight"].fill_(float("nan")),
}


@pytest.mark.parametrize("fault", ENCODER_FAULTS)
def test_so_is_one_of_a_model_with_an_encoder(tmp_path, fault):
    with_encoder("t5").save_pretrained(tmp_path)
    assert read_model(str(tmp_path), "the model", causal=False).config.model_type == "t5"
    with pytest.raises(ModelError, match=r"^the model: a t5 model has an encoder"):
        read_model(str(tmp_path), "the model")
    with pytest.raises(ModelError, match=f"^the model: {fault}$"):
        read_model(tampered(tmp_path, ENCODER_FAULTS[fault]), "the model", causal=False)


@pytest.mark.parametrize("name", SEEING)
def test_so_is_one_of_a_model_of_images(tmp_path, name):
    model = seeing(name)
    model.save_pretrained(tmp_path)
    assert read_model(str(tmp_path), "x", causal=False).num_parameters() == model.num_parameters()
    lost = next(key for key in sorted(load_file(tmp_path / "model.safetensors")) if "visual" in key or "vision" in key)
    with pytest.raises(ModelError, match=r"^x: tensor \S+ is missing$"):
        read_model(tampered(tmp_path, without(lost)), "x", causal=False)


def test_another_models_settings_cost_no_memory(tmp_path):
    """Matrices of 2 PiB each: whoever makes one of them does not come back."""
    llama().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 2**45}))
    with pytest.raises(ModelError, match=r"^the model: config\.json is of a model of [0-9,]+ parameters, and the weights are "):
        read_model(str(tmp_path), "the model")


def test_a_head_that_is_missing_is_named(tmp_path):
    tiny().save_pretrained(tmp_path)
    name = "model.layers.1.blocks.2.mlp.up_proj.weight"
    with pytest.raises(ModelError, match=f"the reference: tensor {name} is missing$"):
        read_heads(tampered(tmp_path, without(name)), "the reference")


def test_files_that_cannot_be_read_are_one_line(tmp_path):
    for path in ("/nowhere", "x.gguf/y/z"):
        with pytest.raises(ModelError, match=f"^x: {path} does not exist, and is no hub id"):
            read_model(path, "x")
    with pytest.raises(ModelError, match=r"^model.pretrained=nowhere/none: no folder here, and as a hub id: \w+: .*$"):
        read_model("nowhere/none", "model.pretrained=nowhere/none")
    llama().save_pretrained(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"^[^\n]+$"):
        read_model(str(tmp_path), "x")
    (tmp_path / "model.safetensors").write_bytes(whole)
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": "wide"}')
    with pytest.raises(ModelError, match=r"^x: \w+: [^\n]+$"):
        read_model(str(tmp_path), "x")


def test_a_model_of_an_older_wmtp_and_one_without_heads_are_refused(tmp_path):
    tiny().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["text_config"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 16, "num_hidden_layers": 4}))
    with pytest.raises(ModelError, match=r"x: ValueError: config.json has no text_config: .* an older wmtp"):
        read_heads(tmp_path, "x")
    llama().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="x: a llama model, and not a multi-token one"):
        read_heads(tmp_path, "x")


def test_a_model_whose_parts_do_not_agree_is_refused():
    model = tiny()
    prove_heads(model, "x")
    model.heads[1].self_attn.layer_idx = 0
    with pytest.raises(ModelError, match=r"^x: head.*"):
        prove_heads(model, "x")


SIZES = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def test_heads_are_refused_in_one_line_where_they_cannot_be_put():
    encoder = T5ForConditionalGeneration(T5Config(vocab_size=VOCAB, d_model=16, d_ff=24, num_layers=2, num_heads=2, d_kv=8))
    state_space = MambaForCausalLM(MambaConfig(vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, state_size=4))
    for source, reason in (
        (encoder, "it has an encoder"),
        (state_space, "its decoder takes no past_key_values, position_ids"),
        (PhiForCausalLM(PhiConfig(**SIZES)), "its unembedding is not a matrix alone"),
    ):
        with pytest.raises(ModelError, match=f"{source.config.model_type} model: heads cannot be put on it: {reason}"):
            from_causal_lm(source, 2)


def test_modules_that_a_model_ships_and_transformers_leaves_out_are_named(tmp_path, capsys):
    family("qwen3_next").save_pretrained(tmp_path)
    read_model(tampered(tmp_path, lambda weights: weights.update({"mtp.fc.weight": torch.ones(2)})), "the model")
    said = capsys.readouterr().out
    assert "the model: 1 tensors have no place in transformers' model and are not read with it, the first is mtp.fc" in said


def test_weights_are_float32_where_that_is_asked_for_and_what_the_files_hold_otherwise(tmp_path):
    llama().bfloat16().save_pretrained(tmp_path)
    assert read_model(str(tmp_path), "x").dtype == torch.bfloat16
    assert read_model(str(tmp_path), "x", dtype=torch.float32).dtype == torch.float32


def configured(path, **settings):
    """A Llama's folder whose settings say something else."""
    llama().save_pretrained(path)
    about = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(about | settings))
    return path


CODE = {"AutoConfig": "configuration_mimo.MiMoConfig", "AutoModelForCausalLM": "modeling_mimo.MiMoForCausalLM"}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"model_type": "mimo"}, r"transformers \S+ has no model of type mimo$"),
        ({"model_type": "mimo", "auto_map": CODE}, r"type mimo \(its own code, which auto_map names, is not run\)$"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "a t5 model has an encoder: it is no causal language model$"),
        ({"model_type": "clip"}, r"transformers \S+ has no causal language model of type clip$"),
        ({"num_attention_heads": 3, "head_dim": None}, r"Class validation error for validator \S+ ValueError: .*heads"),
    ],
)
def test_a_folder_of_another_kind_is_named_whether_it_is_evaluated_or_trained(tmp_path, settings, line):
    configured(tmp_path, **settings)
    for read in (lambda: read_model(str(tmp_path), "x"), lambda: open_model(tmp_path, "x")):
        with pytest.raises(ModelError, match=rf"^x: [^\n]*{line}"):
            read()


def test_weights_that_are_no_numbers_are_named(tmp_path):
    llama().save_pretrained(tmp_path)
    path = tampered(tmp_path, lambda weights: weights["model.norm.weight"][3:4].fill_(float("nan")))
    with pytest.raises(ModelError, match=r"^x: tensor model.norm.weight holds NaN or Inf$"):
        read_model(path, "x")
    source = llama()
    source.model.norm.weight.data[2] = float("inf")
    with pytest.raises(ModelError, match="the model's own logits are NaN or Inf on random tokens"):
        from_causal_lm(source, 2)
