"""What a folder's settings say that it is, told without its weights."""

import json
import subprocess
import sys

import pytest

from wmtp.errors import ModelError
from wmtp.model_types import MULTI_TOKEN, completing_class, require_causal


def folder(path, **settings):
    (path / "config.json").write_text(json.dumps(settings))
    return str(path)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "mamba", "gemma3_text", "gpt2"])
def test_causal_language_models_are_accepted_by_their_settings_alone(tmp_path, kind):
    require_causal(folder(tmp_path, model_type=kind), "m")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_type": "nobody-knows"}, r"transformers [\d.]+ has no model of type nobody-knows$"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "x.Y"}},
            r"of type own \(its own code, which auto_map names, is not run\)$",
        ),
        ({"model_type": "t5"}, "a t5 model has an encoder: it is no causal language model$"),
        ({"model_type": "vit"}, r"transformers [\d.]+ has no causal language model of type vit$"),
        ({"model_type": "llama", "num_hidden_layers": "six"}, "num_hidden_layers"),
    ],
)
def test_other_kinds_are_named_in_one_line(tmp_path, settings, said):
    with pytest.raises(ModelError, match=rf"^m: [^\n]*{said}"):
        require_causal(folder(tmp_path, **settings), "m")


@pytest.mark.parametrize(
    ("kind", "completes"),
    [
        ("llama", "AutoModelForCausalLM"),
        (MULTI_TOKEN, "AutoModelForCausalLM"),
        ("gemma3", "AutoModelForCausalLM"),
        ("t5", "AutoModelForSeq2SeqLM"),
        ("bart", "AutoModelForSeq2SeqLM"),
        ("qwen2_vl", "AutoModelForMultimodalLM"),
        ("florence2", "AutoModelForMultimodalLM"),
    ],
)
def test_the_class_that_completes_texts_with_a_model(tmp_path, kind, completes):
    assert completing_class(folder(tmp_path, model_type=kind), "m").__name__ == completes


def test_what_completes_no_texts_is_named_in_one_line(tmp_path):
    with pytest.raises(ModelError, match=r"^m: transformers [\d.]+ has no model of type vit that completes texts$"):
        completing_class(folder(tmp_path, model_type="vit"), "m")
    with pytest.raises(ModelError, match=r"^m: transformers [\d.]+ has no model of type nobody-knows$"):
        completing_class(folder(tmp_path, model_type="nobody-knows"), "m")


def test_a_name_that_is_neither_a_folder_nor_of_the_hub_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"^m: .*/no/such/place does not exist, and is no hub id"):
        require_causal(str(tmp_path / "no" / "such" / "place"), "m")


def test_our_own_type_is_known_where_its_class_is_not(tmp_path):
    """A command that composes a run makes no model, and has not imported their classes."""
    where = folder(tmp_path, model_type=MULTI_TOKEN, text_config={"model_type": "llama"})
    ask = "import sys; from wmtp.model_types import require_causal; require_causal(sys.argv[1], 'm')"
    code = f"{ask}; print('wmtp.models' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, where], check=True, capture_output=True, text=True).stdout == "False\n"
