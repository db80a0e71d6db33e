"""Folders that ship multi-token modules, in the published layout, against each module written out: a join, and a model of one
layer that transformers itself reads from the module's tensors."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM

from tests.unit.models.families import VOCAB, family
from tests.unit.models.tiny import filled
from wmtp.config.training import ModelConfig
from wmtp.errors import ConfigError, ModelError
from wmtp.models.build import build_model
from wmtp.models.load import read_heads
from wmtp.models.save import write_language_model

NAMES = ["deepseek_v3", "glm4_moe"]
NUM_MODULES = 2


def build(folder, n_future=1 + NUM_MODULES, variant="sequential", **changes):
    config = ModelConfig(pretrained=str(folder), n_future=n_future, head_variant=variant, **changes)
    return build_model(config, vocab_size=VOCAB, max_length=64, pad_token_id=0, eos_token_id=1, seed=0)


def write(name, folder):
    """The model with two modules behind its layers; the tensors of all."""
    model = family(name, num_nextn_predict_layers=NUM_MODULES)
    model.save_pretrained(folder)
    tensors, last = load_file(folder / "model.safetensors"), model.config.num_hidden_layers - 1
    generator, width = torch.Generator().manual_seed(7), model.config.hidden_size
    for k in range(NUM_MODULES):
        prefix, like = f"model.layers.{last + 1 + k}.", f"model.layers.{last}."
        for key in [key for key in tensors if key.startswith(like)]:
            tensors[key.replace(like, prefix)] = tensors[key] + 0.1 * torch.randn(tensors[key].shape, generator=generator)
        for key in ("enorm", "hnorm", "shared_head.norm"):
            tensors[f"{prefix}{key}.weight"] = 1 + 0.2 * torch.randn(width, generator=generator)
        tensors[f"{prefix}eh_proj.weight"] = torch.randn(width, 2 * width, generator=generator) * (2 * width) ** -0.5
        tensors[f"{prefix}embed_tokens.weight"] = tensors["model.embed_tokens.weight"].clone()
        tensors[f"{prefix}shared_head.head.weight"] = tensors["lm_head.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return model, tensors


def rms(x, weight, eps):
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * weight


def one_layer(config, tensors, k, folder):
    """The module's block and norm as a model of its own."""
    prefix = f"model.layers.{config.num_hidden_layers + k}."
    own = {
        "embed_tokens.weight": tensors["model.embed_tokens.weight"],
        "norm.weight": tensors[f"{prefix}shared_head.norm.weight"],
    }
    joins = ("enorm", "hnorm", "eh_proj", "embed_tokens", "shared_head")
    own |= {
        f"layers.0.{key[len(prefix) :]}": t
        for key, t in tensors.items()
        if key.startswith(prefix) and key[len(prefix) :].split(".")[0] not in joins
    }
    shape = {**config.to_dict(), "num_hidden_layers": 1, "first_k_dense_replace": 0, "num_nextn_predict_layers": 0}
    type(config)(**shape).save_pretrained(folder)
    save_file({f"model.{key}": t.clone() for key, t in own.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    return AutoModel.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize("name", NAMES)
def test_heads_are_the_modules_that_the_folder_ships(world, name, tmp_path, capsys):
    source, tensors = write(name, tmp_path / "model")
    sharded = filled(build(tmp_path / "model"), world)
    (tmp_path / "saved").mkdir()
    write_language_model(sharded, tmp_path / "saved", is_main=True)
    model = read_heads(tmp_path / "saved", "the saved model").eval()
    assert "heads 1 to 2 are the multi-token modules that it ships" in capsys.readouterr().out
    ids, eps = torch.randint(VOCAB, (2, 20), generator=torch.Generator().manual_seed(1)), source.config.rms_norm_eps
    with torch.no_grad():
        hidden = source.model(ids).last_hidden_state
        embedded = tensors["model.embed_tokens.weight"][ids]
        logits = model.head_logits(ids)
        assert torch.equal(logits[0], source(ids).logits)
        for k in range(NUM_MODULES):
            prefix = f"model.layers.{source.config.num_hidden_layers + k}."
            token, state = (
                rms(x, tensors[f"{prefix}{norm}.weight"], eps)
                for x, norm in ((embedded[:, k + 1 :], "enorm"), (hidden[:, :-1], "hnorm"))
            )
            joined = torch.cat([token, state], dim=-1) @ tensors[f"{prefix}eh_proj.weight"].T
            (tmp_path / f"{k}").mkdir()
            hidden = one_layer(source.config, tensors, k, tmp_path / f"{k}")(inputs_embeds=joined).last_hidden_state
            due = hidden @ tensors["lm_head.weight"].T
            torch.testing.assert_close(logits[k + 1][:, : due.shape[1]], due, rtol=1e-4, atol=1e-4)
    assert model.config.layout == sharded.config.layout


def test_as_many_modules_as_there_are_and_others_are_named(tmp_path, capsys):
    write("glm4_moe", tmp_path)
    assert build(tmp_path, 2).config.n_future == 2
    with pytest.raises(ModelError, match="ships 2 multi-token modules: n_future=4 needs 3, use 3"):
        build(tmp_path, 4)
    capsys.readouterr()
    build(tmp_path, 2, "parallel")
    assert "not read with it, the first is model.layers.3." in capsys.readouterr().out


def test_a_module_that_lacks_a_tensor_or_is_of_no_class_is_an_error(tmp_path):
    _, tensors = write("glm4_moe", tmp_path / "model")
    del tensors["model.layers.3.eh_proj.weight"]
    save_file(tensors, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"its multi-token modules cannot be read: .*"):
        build(tmp_path / "model")
    family("qwen3").save_pretrained(tmp_path / "plain")
    with pytest.raises(ModelError, match="transformers makes no multi-token modules of a qwen3 model"):
        build(tmp_path / "plain", head_init="shipped")
    with pytest.raises(ConfigError, match="such modules are a chain"):
        build(tmp_path / "plain", variant="parallel", head_init="shipped")


def write_apart(folder):
    """Qwen3-Next and its one module, named as it is released; the tensors of both."""
    model = family("qwen3_next")
    model.save_pretrained(folder)
    tensors, last = load_file(folder / "model.safetensors"), f"model.layers.{model.config.num_hidden_layers - 1}."
    generator, width = torch.Generator().manual_seed(7), model.config.hidden_size
    for key in [key for key in tensors if key.startswith(last)]:
        tensors[key.replace(last, "mtp.layers.0.")] = tensors[key] + 0.1 * torch.randn(tensors[key].shape, generator=generator)
    for key in ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm"):
        tensors[f"mtp.{key}.weight"] = 0.2 * torch.randn(width, generator=generator)
    tensors["mtp.fc.weight"] = torch.randn(width, 2 * width, generator=generator) * (2 * width) ** -0.5
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return model, tensors


@torch.no_grad()
def test_qwen3_nexts_module_is_a_head_and_computes_what_transformers_own_layer_does(world, tmp_path, capsys):
    """That layer is the last one of a second Qwen3-Next, which is given the module's tensors and the joined inputs."""
    source, tensors = write_apart(tmp_path / "model")
    sharded = filled(build(tmp_path / "model", 2), world)
    assert "heads 1 to 1 are the multi-token modules that it ships" in capsys.readouterr().out
    write_language_model(sharded, tmp_path / "saved", is_main=True)
    model = read_heads(tmp_path / "saved", "the saved model").eval()
    ids, eps = torch.randint(VOCAB, (2, 20), generator=torch.Generator().manual_seed(1)), source.config.rms_norm_eps
    hidden, embedded = source.model(ids).last_hidden_state[:, :-1], tensors["model.embed_tokens.weight"][ids][:, 1:]
    token = rms(embedded, 1 + tensors["mtp.pre_fc_norm_embedding.weight"], eps)
    state = rms(hidden, 1 + tensors["mtp.pre_fc_norm_hidden.weight"], eps)
    joined = torch.cat([token, state], dim=-1) @ tensors["mtp.fc.weight"].T
    shape = {**source.config.to_dict(), "num_hidden_layers": 1, "layer_types": ["full_attention"]}
    type(source.config)(**shape).save_pretrained(tmp_path / "one")
    own = {k.replace("mtp.layers.0.", "model.layers.0."): t for k, t in tensors.items() if k.startswith("mtp.layers.0.")}
    own |= {"model.norm.weight": tensors["mtp.norm.weight"], "model.embed_tokens.weight": tensors["model.embed_tokens.weight"]}
    own["lm_head.weight"] = tensors["lm_head.weight"]
    save_file({k: t.clone() for k, t in own.items()}, tmp_path / "one/model.safetensors", metadata={"format": "pt"})
    due = AutoModelForCausalLM.from_pretrained(tmp_path / "one").eval()(inputs_embeds=joined).logits
    logits = model.head_logits(ids)
    assert torch.equal(logits[0], source(ids).logits)
    torch.testing.assert_close(logits[1][:, : due.shape[1]], due, rtol=1e-4, atol=1e-4)
    with pytest.raises(ModelError, match="ships 1 multi-token modules: n_future=3 needs 2, use 2"):
        build(tmp_path / "model", 3)


def test_tensors_of_a_module_of_another_layout_are_named_and_not_read(tmp_path, capsys):
    _, tensors = write_apart(tmp_path)
    save_file({**tensors, "mtp.other.weight": torch.ones(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    build(tmp_path, 2)
    assert "tensors have no place in transformers' model and are not read with it, the first is mtp." in capsys.readouterr().out
    with pytest.raises(ModelError, match="transformers makes no multi-token modules of a qwen3_next model"):
        build(tmp_path, 2, head_init="shipped")
