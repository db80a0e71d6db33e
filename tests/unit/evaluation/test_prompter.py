"""Prompts as tokens, and what ends an answer."""

import json
from dataclasses import replace

import pytest
from transformers import GenerationConfig

from tests.unit.tokens.families import BOS, family
from wmtp import tasksets
from wmtp.errors import DataError
from wmtp.evaluation.generate import Decoding
from wmtp.evaluation.prompter import Prompter
from wmtp.types import AssertTest, Problem

HUMANEVAL = tasksets.get("humaneval")
PROBLEM = Problem("HumanEval/0", "def f(x):\n", (AssertTest("assert f(1)"),))
TEMPLATE = "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"


def load(folder, *ends, **settings):
    (folder / "tokenizer.json").write_text(family("llama3")[0])
    settings = {"bos_token": "<s>", "tokenizer_class": "PreTrainedTokenizerFast", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return Prompter.load(str(folder), GenerationConfig(eos_token_id=list(ends) or None))


def test_every_end_token_of_the_model_and_its_tokenizer_ends_a_completion(tmp_path):
    assert load(tmp_path, 5, 2, 7, eos_token="</s>").eos_token_ids == (2, 5, 7)
    assert load(tmp_path, eos_token="</s>").eos_token_ids == (2,)
    alone = load(tmp_path, 7)
    assert alone.eos_token_ids == (7,) and alone.text.pad_token_id == 7
    for settings in ({}, {"eos_token": "<none such>"}):
        with pytest.raises(DataError, match="names no eos_token of the vocabulary, so nothing would end a text"):
            load(tmp_path, **settings)


def test_a_tokenizer_without_a_fast_form_is_refused_by_its_own_folder(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "blenderbot-small"}')
    (tmp_path / "vocab.json").write_text('{"__start__": 0, "__end__": 1, "__unk__": 2, "__null__": 3, "a</w>": 4}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    with pytest.raises(
        DataError, match=rf"^{tmp_path}: its tokenizer has no fast form \(tokenizer\.json\), and wmtp needs one$"
    ):
        Prompter.load(str(tmp_path), GenerationConfig(), apart=True)


def test_decoding_ends_at_the_models_tokens_and_the_tasks_strings(tmp_path):
    decoding = Decoding(num_samples=1, temperature=0.0, top_p=1.0, seed=0, max_new_tokens=4, batch_size=1)
    how = load(tmp_path, 7, eos_token="</s>").decoding(HUMANEVAL, decoding)
    assert how == replace(decoding, eos_token_ids=(2, 7), stop=HUMANEVAL.stop)


def test_a_prompt_is_the_text_alone_or_in_the_tokenizers_chat(tmp_path):
    prompter = load(tmp_path, eos_token="</s>", chat_template=TEMPLATE)
    (plain,) = prompter.prompts(HUMANEVAL, [PROBLEM])
    assert plain.task_id == "HumanEval/0" and plain.input_ids == prompter.text.encode_prompt("def f(x):\n")
    asked = replace(HUMANEVAL, in_chat=True, prefill="Well:\n")
    (chat,) = prompter.prompts(asked, [PROBLEM])
    assert prompter.text.decode(chat.input_ids) == "<s><user>def f(x):\n<assistant>Well:\n" and chat.input_ids.count(BOS) == 1
    assert load(tmp_path, eos_token="</s>").chat is None
