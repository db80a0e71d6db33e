"""What is given from outside: paths that have to be there, hub ids that become stages, tokenizers that have to fit."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.workspaces import PROJECT
from wmtp.config import compose
from wmtp.config.compose import build, to_plain
from wmtp.config.inputs import DownloadConfig, given, is_hub_id, located, require_given
from wmtp.errors import ConfigError
from wmtp.tokens.tokenizer import save_tokenizer, train_tokenizer

KEYS = {
    "tune_reference.model.pretrained": "reference_model",
    "train_critic.model.pretrained": "critic_model",
    "train_policy.model.pretrained": "policy_model",
    "data.tokenizer.path": "tokenizer",
    "data.train_path": "train",
    "data.validation_path": "validation",
    "data.test_path": "test",
}
OWN = {"data.source": "jsonl", "data.train_path": "a.jsonl", "data.validation_path": "b.jsonl"}


def configured(root, **values):
    overrides = [f"{key}={value}" for key, value in {"train_critic.init": "scratch", **OWN, **values}.items()]
    return compose(root, "toy", overrides=overrides)


@pytest.fixture
def root(tmp_path):
    shutil.copytree(PROJECT / "configs", tmp_path / "configs")
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).touch()
    return tmp_path


def tokenizer(folder, text="one two three " * 20):
    save_tokenizer(train_tokenizer([text], 270), folder, 64)
    return folder


def model(folder):
    """A whole one, as far as can be told without loading it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    save_file({"weight": np.zeros(1000, np.float32)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(("key", "slot"), KEYS.items())
def test_every_given_path_is_a_dependency_and_one_that_is_missing_is_refused(root, key, slot):
    config = configured(root, **{key: "no/such"})
    assert getattr(config.inputs, slot) == "no/such"
    with pytest.raises(ConfigError, match=rf"{key}=no/such does not exist .*owner/name.*@REVISION") as caught:
        require_given(root, config)
    assert "\n" not in str(caught.value)


def test_benchmarks_are_dependencies_too_and_places_that_are_not_needed_name_what_is_there(root):
    config = configured(root, **{"data.benchmarks": "['mbpp:b.jsonl','jsonl:no/such']"})
    assert config.inputs.benchmarks == ["b.jsonl", "no/such", *["src/wmtp/stages/sample.py"] * 2]
    with pytest.raises(ConfigError, match=r"data\.benchmarks\[1\]=no/such does not exist"):
        require_given(root, config)


def test_a_header_is_a_dependency_too_and_never_of_the_hub(root):
    assert configured(root).inputs.testlib == "src/wmtp/sandbox/testlib.py"
    config = configured(root, **{"evaluate.sandbox.testlib": "org/testlib.h@v1"})
    assert config.inputs.testlib == "org/testlib.h@v1" and config.downloads == {}
    said = r"^evaluate\.sandbox\.testlib=org/testlib\.h@v1 does not exist \(paths are relative to [^;]*\)$"
    with pytest.raises(ConfigError, match=said):
        require_given(root, config)


def test_without_any_nothing_is_read_and_nothing_downloaded(root):
    config = compose(root, "toy")
    assert list(given(config)) == [] and config.downloads == {}
    require_given(root, config)


def test_a_hub_id_becomes_a_stage_and_the_folder_that_it_writes_a_dependency(root):
    config = configured(
        root, **{"train_policy.model.pretrained": "org/some.model@3f1a", "data.train_path": "org/set:full:train@v1"}
    )
    by_kind = {one.kind: (key, one.source) for key, one in config.downloads.items()}
    assert by_kind["data"][1] == "org/set:full:train@v1" and by_kind["model"][1] == "org/some.model@3f1a"
    assert config.inputs.train == f"artifacts/downloads/{by_kind['data'][0]}"
    assert config.inputs.policy_model == f"artifacts/downloads/{by_kind['model'][0]}"
    assert config.data.tokenizer.path == "org/some.model@3f1a", "the model's own"
    require_given(root, config)
    assert build(to_plain(config)) == config


def test_another_revision_is_another_folder():
    one, other = (DownloadConfig("model", f"org/model@{revision}") for revision in ("main", "v2"))
    assert one.key != other.key and one.key.startswith("model-org-model-main-")
    assert DownloadConfig("tokenizer", one.source).key != one.key


@pytest.mark.parametrize(
    ("value", "kind", "is_one"),
    [
        ("org/name@abc", "model", True),
        ("org/name", "model", False),
        ("./org/name@abc", "model", False),
        ("/abs/name@abc", "model", False),
        ("org/name:full@abc", "model", False),
        ("org/name@abc", "data", False),
        ("org/name:train@abc", "data", True),
        ("org/name:full:train@abc", "data", True),
        ("org/name:full:train", "data", False),
        ("data/train.jsonl", "data", False),
    ],
)
def test_what_is_a_hub_id_is_told_by_its_form(value, kind, is_one):
    assert is_hub_id(value, kind) is is_one
    assert (located(value, kind) == value) is not is_one


def test_a_path_that_looks_like_a_hub_id_is_asked_about(root):
    (root / "org/name@abc").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"both a hub id and a path .*: write \./org/name@abc"):
        require_given(root, configured(root, **{"train_policy.model.pretrained": "org/name@abc"}))


def test_what_the_pipeline_makes_and_replaces_is_no_input(root):
    (root / "artifacts/policy/x").mkdir(parents=True)
    with pytest.raises(ConfigError, match="a path outside of artifacts/, where stages replace what they make"):
        require_given(root, configured(root, **{"train_policy.model.pretrained": "artifacts/policy/x"}))


def test_a_model_that_nothing_reads_is_refused(root):
    with pytest.raises(ConfigError, match=r"train_critic\.model\.pretrained='m' is not allowed: null, or init=scratch"):
        configured(root, **{"train_critic.init": "reference", "train_critic.model.pretrained": "m"})
    with pytest.raises(ConfigError, match=r"train_critic\.model\.n_layers=3 is not allowed: 7, or init=scratch: with init=ref"):
        configured(root, **{"train_critic.init": "reference", "train_critic.model.n_layers": 3})


def test_the_tokenizer_is_the_models_where_none_is_named(root):
    tokenizer(model(root / "model"))
    config = configured(root, **{"tune_reference.model.pretrained": "model"})
    assert config.data.tokenizer.path == config.inputs.tokenizer == "model"
    require_given(root, config)


def test_another_tokenizer_than_the_models_is_refused_before_anything_starts(root):
    tokenizer(model(root / "model"))
    tokenizer(root / "other", "seven eight nine " * 20)
    config = configured(root, **{"train_policy.model.pretrained": "model", "data.tokenizer.path": "other"})
    said = r"train_policy\.model\.pretrained=model has another tokenizer than the data \(.*other\): it has"
    with pytest.raises(ConfigError, match=said) as caught:
        require_given(root, config)
    assert "\n" not in str(caught.value)
    shutil.copytree(root / "model", root / "copy")
    require_given(root, configured(root, **{"train_policy.model.pretrained": "model", "data.tokenizer.path": "copy"}))


def test_a_model_without_a_tokenizer_needs_one_to_be_named(root):
    model(root / "model")
    with pytest.raises(ConfigError, match=r"data\.tokenizer\.path='model' is not allowed: a folder with a tokenizer"):
        require_given(root, configured(root, **{"train_policy.model.pretrained": "model"}))


@pytest.mark.parametrize("key", [key for key in KEYS if key.endswith("pretrained")])
def test_a_model_that_is_not_whole_is_refused_before_anything_starts(root, key):
    folder = tokenizer(model(root / "model"))
    weights = (folder / "model.safetensors").read_bytes()
    config = configured(root, **{key: "model"})
    require_given(root, config)
    (folder / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(ConfigError, match=rf"^{key}=model: .*model\.safetensors \(.* bytes\) is cut off or broken: [^\n]*$"):
        require_given(root, config)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=rf"^{key}=model: .* holds no weights: [^\n]*$"):
        require_given(root, config)
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=rf"^{key}=model: .*config\.json: [^\n]*$"):
        require_given(root, config)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"model_type": "internlm9", "auto_map": {}},
            r"no model of type internlm9 \(its own code, which auto_map names, is not run\)",
        ),
        ({"model_type": "t5"}, "a t5 model has an encoder"),
        ({"model_type": "vit"}, "no causal language model of type vit"),
        ({"model_type": "llama", "hidden_size": "many"}, "hidden_size"),
    ],
)
def test_a_model_of_a_kind_that_cannot_be_trained_is_refused_before_anything_starts(root, settings, said):
    (tokenizer(model(root / "model")) / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=rf"^train_policy\.model\.pretrained=model: [^\n]*{said}[^\n]*$"):
        require_given(root, configured(root, **{"train_policy.model.pretrained": "model"}))


def test_a_policy_of_our_own_is_of_a_known_kind_without_its_class(root):
    (tokenizer(model(root / "model")) / "config.json").write_text(
        '{"model_type": "wmtp_mtp", "text_config": {"model_type": "llama"}}'
    )
    require_given(root, configured(root, **{"train_policy.model.pretrained": "model"}))


def test_a_file_of_another_format_is_named_with_the_way_to_a_folder(root):
    (root / "m.gguf").touch()
    with pytest.raises(ConfigError, match=r"^train_policy\.model\.pretrained=m\.gguf: .* is one file: `wmtp model fetch "):
        require_given(root, configured(root, **{"train_policy.model.pretrained": "m.gguf"}))
