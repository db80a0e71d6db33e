"""Weights are written shard by shard, and transformers reads them."""

import torch
from transformers import AutoModelForCausalLM

from tests.unit.models.tiny import llama
from wmtp import model_files
from wmtp.models.shards import write_shards


def test_shards_are_made_one_at_a_time_and_are_the_model(tmp_path):
    source = llama()
    state = source.state_dict()
    asked = []

    def read(names):
        asked.append(list(names))
        return {name: state[name] for name in names}

    shapes = {name: tensor.shape for name, tensor in state.items()}
    write_shards(tmp_path, shapes, torch.float32, read, shard_bytes=6000)
    source.config.save_pretrained(tmp_path)
    assert len(asked) == len(model_files.weight_files(tmp_path)) > 2
    assert [name for names in asked for name in names] == list(state)
    assert all(sum(state[name].nbytes for name in names) <= 6000 for names in asked)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())


def test_one_shard_is_one_file_and_a_rank_without_tensors_writes_none(tmp_path):
    shapes = {"a": torch.Size([3]), "b": torch.Size([2])}
    write_shards(tmp_path, shapes, torch.float32, lambda names: None, shard_bytes=4)
    assert not list(tmp_path.iterdir())
    write_shards(tmp_path, shapes, torch.bfloat16, lambda names: {name: torch.ones(shapes[name]) for name in names})
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
