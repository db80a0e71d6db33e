"""A new model is one for the dataset's tokens."""

from pathlib import Path

import torch

from wmtp.config.training import ModelConfig
from wmtp.stages.new_model import new_model
from wmtp.tokens.data import TokenMeta

META = TokenMeta(vocab_size=40, eos_token_id=3, pad_token_id=5, max_length=17, is_ordered=False)
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
