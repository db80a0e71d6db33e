"""Whether what is given is there and serves: paths, models, tokenizers that have to fit."""

import json
import shutil

import pytest

from tests.unit.config.own_files import configured, model, tokenizer, workspace
from wmtp.config.given import require_given
from wmtp.errors import ConfigError


@pytest.fixture
def root(tmp_path):
    return workspace(tmp_path)


def test_a_path_that_looks_like_a_hub_id_is_asked_about(root):
    (root / "org/name@abc").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"both a hub id and a path .*: write \./org/name@abc"):
        require_given(root, configured(root, **{"train_policy.model.pretrained": "org/name@abc"}))


def test_what_the_pipeline_makes_and_replaces_is_no_input(root):
    (root / "artifacts/policy/x").mkdir(parents=True)
    with pytest.raises(ConfigError, match="a path outside of artifacts/, where stages replace what they make"):
        require_given(root, configured(root, **{"train_policy.model.pretrained": "artifacts/policy/x"}))


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


@pytest.mark.parametrize(
    "key", [f"{section}.model.pretrained" for section in ("tune_reference", "train_critic", "train_policy")]
)
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
        ({"model_type": "qwen2_vl"}, "has no causal language model of type qwen2_vl"),
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
