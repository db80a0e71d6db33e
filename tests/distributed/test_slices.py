"""A model whose ranks read their own slices is the model that one process reads whole, and is proven like it."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.distributed.harness import run_on_ranks
from tests.unit.models.families import VOCAB, family
from wmtp.config.training import ModelConfig
from wmtp.errors import ModelError
from wmtp.models import slices
from wmtp.models.build import build_model, parallelize
from wmtp.models.slices import open_slices
from wmtp.stages.fitting import full_state, write_language_model

NAMES = ["llama", "qwen3", "gemma3_text", "mistral", "granite", "olmo2", "cohere2"]


def build(folder, n_future):
    config = ModelConfig(pretrained=str(folder), n_future=n_future, n_layers=n_future)
    return build_model(config, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=0)


def sharded(world, folder, n_future, checkpointing=False):
    """The whole state on rank 0, and whether slices were read."""
    model = build(folder, n_future)
    in_slices = all(parameter.is_meta for parameter in model.parameters())
    parallelize(model, world.mesh, dtype="float32", activation_checkpointing=checkpointing)
    return in_slices, full_state(model), model.generation_config.to_dict()


@pytest.mark.parametrize("name", NAMES)
def test_slices_are_the_model_that_is_read_whole(name, tmp_path):
    family(name).bfloat16().save_pretrained(tmp_path / "model", max_shard_size=20_000)
    (in_slices, state, generation), _ = run_on_ranks(2, sharded, tmp_path / "model", 3, True, tmp_path=tmp_path)
    due = build(tmp_path / "model", 3)
    assert in_slices and generation == due.generation_config.to_dict()
    assert state.keys() == due.state_dict().keys()
    for tensor_name, tensor in due.state_dict().items():
        assert state[tensor_name].dtype == torch.float32 and torch.equal(state[tensor_name], tensor), tensor_name


@pytest.mark.parametrize("name", ["mixtral", "gpt_neox"])
def test_a_model_whose_files_name_tensors_otherwise_is_read_whole(name, tmp_path):
    family(name).save_pretrained(tmp_path / "model")
    (in_slices, state, _), _ = run_on_ranks(2, sharded, tmp_path / "model", 2, tmp_path=tmp_path)
    due = build(tmp_path / "model", 2).state_dict()
    assert not in_slices and state.keys() == due.keys() and all(torch.equal(state[key], due[key]) for key in due)


def swapped(world, folder):
    """What is said where two layers' slices are read from one another's places, and where the proof is left out."""
    real = slices.open_slices
    model = real(folder, 2, "the model")
    unread = model.__dict__["unread_slices"]
    places = dict(unread.places)
    first, second = ("model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight")
    places[first], places[second] = places[second], places[first]
    model.__dict__["unread_slices"] = dataclasses.replace(unread, places=places)
    try:
        parallelize(model, world.mesh, dtype="float32", activation_checkpointing=False)
    except ModelError as error:
        return str(error)
    return None


def test_a_wrong_slice_is_found_on_every_rank(tmp_path):
    family("qwen3").save_pretrained(tmp_path / "model")
    for said in run_on_ranks(2, swapped, tmp_path / "model", tmp_path=tmp_path):
        assert said is not None and said.startswith("the model: head 0 differs by ")


def faults(world, folder):
    try:
        build(folder, 2)
    except ModelError as error:
        return str(error)
    return None


def test_what_is_missing_or_too_many_is_named_as_ever(tmp_path):
    family("qwen3").save_pretrained(tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    for said in run_on_ranks(2, faults, tmp_path / "model", tmp_path=tmp_path):
        assert said.endswith("tensor model.layers.1.mlp.up_proj.weight is missing")


def test_one_process_reads_whole(tmp_path):
    family("qwen3").save_pretrained(tmp_path)
    assert open_slices(tmp_path, 2, "the model") is None


def saved(world, source, target):
    model = build(source, 2)
    parallelize(model, world.mesh, dtype="float32", activation_checkpointing=True)
    if world.is_main:
        target.mkdir()
    world.barrier()
    write_language_model(model, target, is_main=world.is_main, shard_bytes=20_000)
    world.barrier()
    return full_state(model)


@pytest.mark.parametrize("name", ["qwen3", "granite"])
def test_what_is_saved_is_read_again_in_slices_and_whole(name, tmp_path):
    """Granite's embeddings are tied."""
    family(name).save_pretrained(tmp_path / "model")
    state, _ = run_on_ranks(2, saved, tmp_path / "model", tmp_path / "saved", tmp_path=tmp_path)
    again = build(tmp_path / "saved", 2).state_dict()
    assert len(list((tmp_path / "saved").glob("*.safetensors"))) > 2
    assert again.keys() == state.keys() and all(torch.equal(again[key], state[key]) for key in state)
    (in_slices, sliced, _), _ = run_on_ranks(2, sharded, tmp_path / "saved", 2, tmp_path=tmp_path)
    assert in_slices and all(torch.equal(sliced[key], state[key]) for key in state)
