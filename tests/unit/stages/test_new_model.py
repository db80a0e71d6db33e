"""A new model is one for the dataset's tokens."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.unit.models.families import family
from tests.unit.models.tiny import filled
from wmtp.config.schema import CriticConfig
from wmtp.config.training import ModelConfig
from wmtp.errors import ConfigError
from wmtp.models.save import write_language_model
from wmtp.objectives import shift_labels
from wmtp.stages.new_model import new_model
from wmtp.stages.train_critic import build_critic
from wmtp.tokens.data import TokenMeta

META = TokenMeta(vocab_size=40, largest_token_id=38, eos_token_id=3, pad_token_id=5, max_length=17, is_ordered=False)
UNREAD = Path("no/tokenizer")
SMALL = ModelConfig(hidden_size=16, intermediate_size=24, n_layers=4, n_heads=2, n_kv_heads=2, n_future=3)


def test_it_has_the_tokenizers_vocabulary_ids_and_length():
    config = new_model(SMALL, META, UNREAD, seed=0).config
    one = config.decoder_config
    assert (one.vocab_size, one.eos_token_id, one.pad_token_id, one.max_position_embeddings) == (40, 3, 5, 17)
    assert (config.n_future, config.num_blocks) == (3, 4)


def test_an_arms_heads_replace_the_configured_ones_and_the_seed_decides_its_weights():
    one, same, other = (new_model(SMALL, META, UNREAD, seed=seed, n_future=1) for seed in (1, 1, 2))
    assert one.config.n_future == 1 and one.config.num_blocks == 4
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_pretrained_model_needs_the_embeddings_that_rows_ask_for_and_no_more(tmp_path):
    """Gemma 3's text models embed one token less than their tokenizer has, which is an image's."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=39, **sizes)).save_pretrained(tmp_path)
    config = ModelConfig(pretrained=str(tmp_path), n_future=2)
    assert new_model(config, META, UNREAD, seed=0).config.decoder_config.vocab_size == 39
    with pytest.raises(ConfigError, match="39 embeddings, but the data's tokens need 40"):
        new_model(config, replace(META, largest_token_id=39), UNREAD, seed=0)
    with pytest.raises(ConfigError, match="39 embeddings, but the data's tokens need 40"):
        new_model(config, replace(META, pad_token_id=39), UNREAD, seed=0)


def test_a_tokenizer_that_is_much_smaller_than_the_model_is_asked_about(tmp_path, capsys):
    """It may lie in the model's own folder and be another one: there is nothing to compare it with."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=1000, **sizes)).save_pretrained(tmp_path)
    config = ModelConfig(pretrained=str(tmp_path), n_future=2)
    new_model(config, META, UNREAD, seed=0)
    assert "embeds 1,000 tokens and the tokenizer of the data has 40: is it the model's own?" in capsys.readouterr().out
    new_model(config, replace(META, vocab_size=900), UNREAD, seed=0)
    assert "embeds" not in capsys.readouterr().out


def test_such_a_model_learns_and_a_critic_starts_from_it(world, tmp_path):
    family("gemma3_text", vocab_size=39).save_pretrained(tmp_path / "gemma")
    config = ModelConfig(pretrained=str(tmp_path / "gemma"), n_future=2)
    model = filled(new_model(config, META, UNREAD, seed=0), world)
    ids = torch.arange(39).view(3, 13)
    model(input_ids=ids, labels_BTH=shift_labels(ids, 2)).nll_BTH.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    write_language_model(model, tmp_path / "reference", is_main=True)
    section = CriticConfig(init="reference", reference_nll_input=False)
    critic = filled(build_critic(section, META, tmp_path / "reference", UNREAD), world)
    assert critic(ids).isfinite().all()
