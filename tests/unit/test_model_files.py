"""Model folders that are not whole are told from those that are, by the name of the file."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from tests.unit.sandbox.identities import IDENTITIES, become
from wmtp.errors import ModelError
from wmtp.model_files import digests, require_model, tensor_names, weight_files

CONFIG = b'{"model_type": "llama"}'


@pytest.fixture
def folder(tmp_path):
    """Two shards, settings and a tokenizer."""
    for number in (1, 2):
        save_file({f"w{number}": np.zeros((8, 8), np.float32)}, tmp_path / f"model-0000{number}-of-00002.safetensors")
    places = {f"w{number}": f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (tmp_path / "config.json").write_bytes(CONFIG)
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


def test_a_whole_folder_is_accepted(folder):
    require_model(folder, tokenizer=True)
    assert [path.name for path in weight_files(folder)] == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    assert tensor_names(folder / "model-00002-of-00002.safetensors") == ["w2"]


def test_one_file_of_either_format_is_accepted(tmp_path):
    (tmp_path / "config.json").write_bytes(CONFIG)
    torch.save({"w": torch.zeros(3)}, tmp_path / "pytorch_model.bin")
    require_model(tmp_path)
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    assert [path.name for path in weight_files(tmp_path)] == ["model.safetensors"]


def test_integers_are_weights_only_where_the_settings_say_how(tmp_path):
    """transformers casts them, whatever their scale was, and says nothing."""
    (tmp_path / "config.json").write_bytes(CONFIG)
    mask = {"attn.bias": np.tril(np.ones((4, 4), np.uint8))}
    save_file({"w.weight": np.zeros(3, np.float16), **mask}, tmp_path / "model.safetensors")
    require_model(tmp_path)
    save_file({"w.weight": np.zeros(3, np.int8), **mask}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"tensor w\.weight holds I8, and config\.json says nothing of how it is quantised"):
        require_model(tmp_path)
    save_torch_file({"w.weight": torch.zeros(3, dtype=torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"tensor w\.weight holds F8_E4M3, and config\.json says nothing"):
        require_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes"}}')
    require_model(tmp_path)


INDEX = "model.safetensors.index.json"
SHARD = "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", None, "config.json: No such file"),
        ("config.json", b"{", "config.json is not valid JSON"),
        ("config.json", b"\xff", "config.json is not valid JSON.*utf-8"),
        ("config.json", b"[" * 100_000, "config.json is not valid JSON: nested too deep"),
        ("config.json", b"[]", "config.json must hold a JSON object, and holds list"),
        ("config.json", b"{}", "config.json names no model_type"),
        ("tokenizer.json", None, "holds no tokenizer: copy its files"),
        (INDEX, None, "holds no weights: neither model.safetensors nor pytorch_model.bin"),
        (INDEX, b"{}", f"{INDEX} has no weight_map"),
        (INDEX, b'{"weight_map": {"w": 3}}', f"{INDEX} has no weight_map"),
        (INDEX, b'{"weight_map": {"w2": "%b", "w9": "%b"}}' % ((SHARD.encode(),) * 2), f"{SHARD} lacks w9, which {INDEX} says"),
        (INDEX, b'{"weight_map": {"w": "../other/model.safetensors"}}', f"{INDEX} names .*model.safetensors, which is outside"),
        (SHARD, None, f"{SHARD} does not exist, and {INDEX} names it: 2 files make up the weights"),
        (SHARD, b"", rf"{SHARD} \(0 bytes\) is cut off or broken"),
        (SHARD, -1, rf"{SHARD} \([\d,]+ bytes\) is cut off or broken"),
        (SHARD, -200, rf"{SHARD} \([\d,]+ bytes\) is cut off or broken"),
        (SHARD, b"<html>not found</html>", f"{SHARD} .* is cut off or broken"),
    ],
)
def test_what_is_not_whole_is_named_in_one_line(folder, name, content, said):
    path = folder / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:content] if isinstance(content, int) else content)
    with pytest.raises(ModelError, match=said) as refused:
        require_model(folder, tokenizer=True)
    assert "\n" not in str(refused.value) and refused.value.exit_code == 2


def test_weights_that_are_there_twice_are_refused_whichever_are_meant(folder):
    save_file({"w1": np.ones((8, 8), np.float32)}, folder / SHARD)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"w1": SHARD.replace("2-", "1-", 1)}, "metadata": {}}))
    require_model(folder)  # of what no index names, nothing is read
    (folder / INDEX).write_text(json.dumps({"weight_map": {"w1": SHARD.replace("2-", "1-", 1), "w0": SHARD}}))
    save_file({"w0": np.ones(2, np.float32), "w1": np.ones((8, 8), np.float32)}, folder / SHARD)
    with pytest.raises(ModelError, match=f"{SHARD} and model-00001-of-00002.safetensors both hold tensor w1: which one"):
        require_model(folder)
    save_file({"w1": np.ones((8, 8), np.float32)}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=rf"holds its weights twice, in model\.safetensors and in what {INDEX} names"):
        require_model(folder)
    (folder / INDEX).write_text('{"weight_map": {"w1": "model.safetensors"}}')
    require_model(folder)


def stand_in(path, kind):
    """Something else in a file's place."""
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    else:
        path.symlink_to("loop" if kind == "loop" else "nothing")


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "loop", "nothing"])
@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "model-00001-of-00002.safetensors"]
)
def test_what_is_no_file_is_named_and_never_waited_for(folder, name, kind):
    (folder / "generation_config.json").write_text("{}")
    if kind == "loop":
        (folder / "loop").symlink_to("loop")
    stand_in(folder / name, kind)
    with pytest.raises(ModelError) as caught:
        require_model(folder, tokenizer=True)
    assert str(folder / name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
)
@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff{}", b"[]"])
def test_settings_that_are_there_are_whole_since_transformers_would_do_without(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name} (is not valid JSON|must hold a JSON object)"):
        require_model(folder)


def test_what_may_not_be_read_is_not_called_missing_or_broken(folder):
    """As a user that is not root."""
    weights = folder / "model-00001-of-00002.safetensors"
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom wmtp.errors import ModelError\n"
        "from wmtp.model_files import tensor_names, weight_files\n"
        "try: weight_files(Path(sys.argv[1]))\nexcept ModelError as error: print(error)"
    )
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        copy = shutil.copytree(folder, Path(place) / "model")
        copy.chmod(0o755)
        for path in copy.iterdir():
            path.chmod(0o644)
        (copy / weights.name).chmod(0)
        done = subprocess.run(
            [*become(IDENTITIES[-1]), sys.executable, "-c", code, str(copy)], capture_output=True, text=True, check=False
        )
    assert done.stdout == f"{copy / weights.name}: Permission denied\n", done.stderr


def test_pytorchs_own_files_are_checked_to_their_end(tmp_path):
    (tmp_path / "config.json").write_bytes(CONFIG)
    path = tmp_path / "pytorch_model.bin"
    torch.save({"w": torch.zeros(300)}, path)
    whole = path.read_bytes()
    for content in (whole[:-30], whole[:500], b"", b"hello"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"pytorch_model.bin \([\d,]+ bytes\) is cut off or broken"):
            require_model(tmp_path)


def test_an_adapter_alone_is_called_one(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds an adapter alone: merge it into its base model"):
        require_model(tmp_path)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(ModelError, match="nothing does not exist: name a model's folder"):
        require_model(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="file is a file: name a model's folder"):
        require_model(tmp_path / "file")


def test_digests_are_of_what_decides_and_of_nothing_else(folder):
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates/tools.jinja").write_text("{{ x }}")
    before = digests(folder)
    assert before.keys() == {
        "config.json",
        "tokenizer.json",
        INDEX,
        SHARD,
        SHARD.replace("2-", "1-", 1),
        "additional_chat_templates/tools.jinja",
    }
    for name in ("README.md", ".gitattributes"):
        (folder / name).write_text("about it")
    assert digests(folder) == before
    content = bytearray((folder / SHARD).read_bytes())
    content[-1] ^= 1
    (folder / SHARD).write_bytes(content)
    after = digests(folder)
    assert {name for name in after if after[name] != before[name]} == {SHARD}


@pytest.mark.parametrize("settings", [{"num_hidden_layers": 10_000}, {"text_config": {"num_hidden_layers": 10_000}}])
def test_another_models_settings_are_told_before_its_layers_are_made_up(folder, settings):
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **settings}))
    with pytest.raises(ModelError, match=r"config\.json says num_hidden_layers=10000, and the weights are 2 tensors: is it"):
        require_model(folder)


@pytest.mark.parametrize(
    "name", ["model.layers.0.mlp.experts.1.gate_proj.weight", "model.layers.1.mlp.experts.3.up_proj.weight"]
)
def test_a_tensor_of_an_expert_that_is_missing_is_named(tmp_path, name):
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_moe", "num_hidden_layers": 2}')
    parts = ("gate_proj", "up_proj", "down_proj")
    names = [f"model.layers.{n}.mlp.experts.{e}.{part}.weight" for n in range(2) for e in range(4) for part in parts]
    save_torch_file({one: torch.zeros(2) for one in names}, tmp_path / "model.safetensors")
    require_model(tmp_path)
    save_torch_file({one: torch.zeros(2) for one in names if one != name}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=rf"tensor {name} is missing$"):
        require_model(tmp_path)
