"""What is saved is the model; what a kill leaves is no model, and the next save is the whole of it."""

import multiprocessing
import os
import signal

import pytest
import torch

from tests.unit.models.tiny import tiny
from wmtp import model_files
from wmtp.errors import ModelError
from wmtp.models import shards
from wmtp.models.load import read_heads
from wmtp.models.new_folder import new_folder
from wmtp.models.save import Gathered, write_language_model

SHARD = 4000


def killed(folder, number, when):
    """Ends itself without a word, before or while it writes shard `number`."""
    real, count = shards.save_file, [0]

    def save(tensors, path, **options):
        count[0] += 1
        if count[0] == number and when == "within":
            real(tensors, path, **options)
            os.truncate(path, path.stat().st_size // 2)
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        real(tensors, path, **options)

    shards.save_file = save
    write_language_model(tiny(), folder, is_main=True, shard_bytes=SHARD)


def run_to_its_death(function, *arguments):
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_kill_between_shards_or_within_one_leaves_no_model_and_saving_again_makes_it(tmp_path, when):
    folder = tmp_path / "saved"
    folder.mkdir()
    run_to_its_death(killed, folder, 3, when)
    there = [path.name for path in folder.glob("*.safetensors")]
    assert len(there) == 2 and all(model_files.tensor_names(folder / name) for name in there), "whole ones alone have names"
    with pytest.raises(ModelError, match="holds no weights"):
        model_files.require_model(folder)
    write_language_model(tiny(), folder, is_main=True, shard_bytes=SHARD)
    assert len(model_files.weight_files(folder)) > 3 and not list(folder.glob(".*"))
    again = read_heads(folder, "the model").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in tiny().state_dict().items())


def killed_in_a_new_folder(target):
    with new_folder(target) as folder:
        killed(folder, 2, "before")


def test_a_new_folder_has_its_name_when_it_is_whole_and_a_kills_remains_are_cleared_away(tmp_path):
    run_to_its_death(killed_in_a_new_folder, tmp_path / "model")
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".model.tmp-") and not (tmp_path / "model").exists()
    with new_folder(tmp_path / "model") as folder:
        write_language_model(tiny(), folder, is_main=True, shard_bytes=SHARD)
        with new_folder(tmp_path / "other") as beside:
            (beside / "x").touch()
        assert folder.is_dir(), "one that is being written stays"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "other"]
    model_files.require_model(tmp_path / "model")


def test_another_dtype_is_of_numbers_alone():
    model = tiny()
    model.register_buffer("counts", torch.arange(3))
    found = Gathered(model, is_main=True, dtype=torch.bfloat16).whole(["counts", "model.norm.weight"])
    assert [tensor.dtype for tensor in found.values()] == [torch.int64, torch.bfloat16]
    assert Gathered(model, is_main=False).whole(["counts"]) == {}
