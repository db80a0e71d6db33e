"""Weights are written shard by shard, and transformers reads them."""

import errno
import resource

import pytest
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
    (weights,) = tmp_path.iterdir()
    assert weights.name == "model.safetensors"
    (tmp_path / "plain").touch()
    assert weights.stat().st_mode == (tmp_path / "plain").stat().st_mode, "safetensors' own files are their writer's alone"


def test_what_the_disk_says_is_an_error_of_the_system_and_nothing_is_left(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large") as said:
            write_shards(tmp_path, {"a": torch.Size([10_000])}, torch.float32, lambda names: {"a": torch.ones(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (said.value.errno, said.value.filename) == (errno.EFBIG, str(tmp_path / "model.safetensors"))
    assert not list(tmp_path.iterdir())
