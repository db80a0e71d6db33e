"""What tensors are made of: as `from_pretrained` makes them, whole and in part, and what is wrong with a folder's is named."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.conversion_mapping import get_model_conversion_mapping

from tests.unit.models.families import family
from wmtp.errors import ModelError
from wmtp.models.file_tensors import places_in, sources
from wmtp.models.slices import open_model


def found_in(folder, model):
    return sources(model, places_in(folder).values(), get_model_conversion_mapping(model), "the model")


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "gpt_neox", "deepseek_v3", "granite"])
def test_every_tensor_is_the_one_that_transformers_reads_and_so_is_every_part(name, tmp_path):
    family(name).save_pretrained(tmp_path)
    due = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    found, state = found_in(tmp_path, due), due.state_dict()
    for key, source in found.items():
        assert source.shape == tuple(state[key].shape) and torch.equal(source.read(), state[key]), key
        half = source.shape[0] // 2
        assert torch.equal(source.read((slice(half, None),)), state[key][half:]), key
        if len(source.shape) > 1:
            assert torch.equal(source.read((slice(0, half), slice(1, 3))), state[key][:half, 1:3]), key
    assert found.keys() | {"lm_head.weight"} == state.keys()


@pytest.mark.parametrize("new", [True, False])
def test_pytorchs_own_files_of_either_form(tmp_path, new):
    model = family("qwen3")
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=new)
    found = open_model(tmp_path, "the model").sources
    assert all(torch.equal(found[name].read(), tensor) for name, tensor in model.state_dict().items())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02not a pickle")
    with pytest.raises(ModelError, match=r"pytorch_model.bin cannot be read: "):
        open_model(tmp_path, "the model")


def change(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


EXPERT = "model.layers.1.block_sparse_moe.experts.2.w1.weight"
FAULTS = {
    "lost": ("qwen3", lambda t: t.pop("model.norm.weight"), "tensor model.norm.weight is missing"),
    "more": ("qwen3", lambda t: t.update(x=torch.ones(1)), "tensor x is of no part of the model"),
    "long": (
        "qwen3",
        lambda t: t.update({"model.norm.weight": torch.ones(33)}),
        r"tensor model.norm.weight is \(33,\) and must be \(32,\)",
    ),
    "tied": ("granite", lambda t: t.pop("model.embed_tokens.weight"), "tensor lm_head.weight is missing"),
    "buffer": (
        "glm4_moe",
        lambda t: t.pop("model.layers.2.mlp.gate.e_score_correction_bias"),
        "tensor model.layers.2.mlp.gate.e_score_correction_bias is missing",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_tensor_is_named(fault, tmp_path):
    name, edit, says = FAULTS[fault]
    family(name).save_pretrained(tmp_path)
    change(tmp_path, edit)
    with pytest.raises(ModelError, match=rf"^the model: {says}"):
        open_model(tmp_path, "the model")


def test_an_expert_that_lacks_a_tensor_is_named(tmp_path):
    family("mixtral").save_pretrained(tmp_path)
    change(tmp_path, lambda tensors: tensors.pop(EXPERT))
    with pytest.raises(ModelError, match=rf"tensor {EXPERT} is missing$"):
        open_model(tmp_path, "the model")


def test_what_is_tied_by_either_name_and_what_only_the_configuration_ties(tmp_path):
    source = family("granite")
    source.save_pretrained(tmp_path)
    change(tmp_path, lambda t: t.update({"lm_head.weight": t.pop("model.embed_tokens.weight")}))
    opened = open_model(tmp_path, "the model")
    assert opened.untied == () and opened.model.lm_head.weight is opened.model.model.embed_tokens.weight
    change(tmp_path, lambda t: t.update({"model.embed_tokens.weight": t["lm_head.weight"] + 1}))
    opened = open_model(tmp_path, "the model")
    assert opened.untied == ("lm_head.weight",) and opened.model.lm_head.weight is not opened.model.model.embed_tokens.weight
    due = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(due.lm_head.weight + 1, due.model.embed_tokens.weight)


def test_quantised_weights_and_adapters_beside_them_are_refused(tmp_path):
    family("qwen3").save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"the model holds an adapter beside the weights: merge it into them"):
        open_model(tmp_path, "the model")
    (tmp_path / "adapter_config.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "fp8"}}))
    with pytest.raises(ModelError, match=r"the model: its weights are quantised \(fp8\): training needs"):
        open_model(tmp_path, "the model")
