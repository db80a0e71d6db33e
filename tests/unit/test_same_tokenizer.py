"""Two tokenizers are the same where every text has the same tokens, however their files are written."""

import json
import shutil

import pytest

from wmtp.errors import ConfigError
from wmtp.same_tokenizer import require_same_tokenizer
from wmtp.tokens.tokenizer import save_tokenizer, train_tokenizer

TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "first", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"first": {"id": "first", "ids": [0], "tokens": ["first"]}},
}
"""A post-processor as tokenizer.json has it: token 0 before every text."""


@pytest.fixture
def folders(tmp_path):
    save_tokenizer(train_tokenizer(["one two three four " * 20], 280), tmp_path / "data", 64)
    shutil.copytree(tmp_path / "data", tmp_path / "model")
    return tmp_path / "data", tmp_path / "model"


def change(folder, edit):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content, indent=None))


def swap(content):
    vocab = content["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]


def test_a_copy_is_the_same_in_any_layout_and_with_other_settings_beside_it(folders):
    data, model = folders
    change(model, lambda content: content.update(truncation=None))
    (model / "tokenizer_config.json").write_text("{}")
    require_same_tokenizer(data, model, "model")
    require_same_tokenizer(data, data, "model")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (swap, r"it has number \d+ for 'a', where the data has number \d+"),
        (lambda content: content["model"]["merges"].reverse(), "it merges pieces in another way"),
        (lambda content: content.update(normalizer={"type": "Lowercase"}), "it normalises text in another way"),
        (lambda content: content["pre_tokenizer"]["pretokenizers"].pop(0), "it splits text in another way"),
        (
            lambda content: content["added_tokens"].append(
                {**content["added_tokens"][0], "id": len(content["model"]["vocab"]), "content": "<extra>"}
            ),
            "for '<extra>', where the data has no token",
        ),
    ],
)
def test_what_makes_other_tokens_is_named(folders, edit, said):
    data, model = folders
    change(model, edit)
    with pytest.raises(ConfigError, match=said) as caught:
        require_same_tokenizer(data, model, "train_policy.model.pretrained=model")
    text = str(caught.value)
    assert text.startswith("train_policy.model.pretrained=model has another tokenizer") and "\n" not in text


def test_texts_that_start_otherwise_are_other_inputs(folders):
    data, model = folders
    path = model / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "add_bos_token": True, "bos_token": "a"}))
    with pytest.raises(ConfigError, match=r"it starts texts with \[\d+\], where the data has \[\]"):
        require_same_tokenizer(data, model, "model")
    change(model, lambda content: content.update(post_processor=TEMPLATE))
    path.write_text((data / "tokenizer_config.json").read_text())
    with pytest.raises(ConfigError, match=r"it starts texts with \[0\], where the data has \[\]"):
        require_same_tokenizer(data, model, "model")


def test_a_model_without_one_cannot_contradict(folders):
    data, model = folders
    shutil.rmtree(model)
    model.mkdir()
    require_same_tokenizer(data, model, "model")


def test_one_that_cannot_be_read_is_one_line(folders):
    data, model = folders
    (model / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match="model holds no tokenizer that can be read"):
        require_same_tokenizer(data, model, "model")
