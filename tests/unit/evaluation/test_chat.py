"""A tokenizer's own chat template around prompts."""

import json

import pytest

from tests.unit.tokens.families import BOS, EOS, family
from wmtp.errors import ModelError
from wmtp.evaluation.chat import Chat

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def folder(path, template, family_name="llama3"):
    (path / "tokenizer.json").write_text(family(family_name)[0])
    settings = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (path / "tokenizer_config.json").write_text(json.dumps(settings | ({"chat_template": template} if template else {})))
    return str(path)


def test_a_tokenizer_without_a_template_is_no_chat(tmp_path):
    assert Chat.load(folder(tmp_path, None)) is None


def test_the_users_message_and_what_the_answer_starts_with(tmp_path):
    chat = Chat.load(folder(tmp_path, TEMPLATE))
    assert chat.text("How many?") == "<s><user>How many?</s><assistant>"
    assert chat.text("How many?", "Well:\n```\n") == "<s><user>How many?</s><assistant>Well:\n```\n"


def test_what_the_system_says_comes_first(tmp_path):
    chat = Chat.load(folder(tmp_path, TEMPLATE))
    assert chat.text("How many?", system="Count.") == "<s><system>Count.</s><user>How many?</s><assistant>"
    assert chat.tokenizer.decode(chat.ids("How many?", "Well", "Count.")).endswith("<user>How many?</s><assistant>Well")


def test_special_tokens_are_tokens_and_the_first_is_there_once_and_nothing_is_cut(tmp_path):
    chat = Chat.load(folder(tmp_path, TEMPLATE))
    ids = chat.ids("a, b = 1, 2 " * 20)
    assert ids[0] == BOS and ids.count(BOS) == ids.count(EOS) == 1 and len(ids) > 40
    assert chat.tokenizer.decode(ids) == chat.text("a, b = 1, 2 " * 20)


def test_a_template_that_refuses_or_drops_is_named(tmp_path):
    refuses = Chat.load(folder(tmp_path, "{{ raise_exception('roles must alternate') }}"))
    with pytest.raises(ModelError, match="chat template refuses a prompt: roles must alternate"):
        refuses.text("How many?")
    drops = Chat.load(folder(tmp_path, "{{ messages[0]['content'] }}"))
    with pytest.raises(ModelError, match="drops what the answer starts with"):
        drops.text("How many?", "Well:\n")
    with pytest.raises(ModelError, match="tokenizer of"):
        Chat.load(str(tmp_path / "nothing"))
