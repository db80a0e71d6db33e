"""A configured model: what decides its numbers, what it is refused for, and that its layout on ranks changes nothing."""

import pytest
import torch

from tests.unit.models.tiny import VOCAB, llama
from wmtp.config.training import ModelConfig
from wmtp.errors import ConfigError
from wmtp.models.build import build_model


def test_pretrained_path_is_loaded_and_checked(ids, tmp_path):
    source = llama()
    source.save_pretrained(tmp_path)
    arguments = {"max_length": 64, "pad_token_id": 0, "eos_token_id": 1, "seed": 0}
    model = build_model(ModelConfig(pretrained=str(tmp_path), n_future=2), vocab_size=VOCAB, **arguments).eval()
    torch.testing.assert_close(model(ids).logits, source(ids).logits)
    with pytest.raises(ConfigError, match="31 embeddings, but the tokenizer has 99"):
        build_model(ModelConfig(pretrained=str(tmp_path)), vocab_size=99, **arguments)
