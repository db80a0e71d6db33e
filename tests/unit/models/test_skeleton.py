"""A model without parameters has those of the model that is built."""

import pytest

from tests.unit.models.families import family
from wmtp.config.training import LoraConfig, ModelConfig
from wmtp.models.build import build_model
from wmtp.models.skeleton import skeleton

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "n_layers": 5, "n_heads": 4, "n_kv_heads": 2}


def shapes(model):
    return {name: (tuple(p.shape), p.requires_grad) for name, p in model.named_parameters()}


def built(config, n_future):
    return build_model(config, vocab_size=53, max_length=64, pad_token_id=0, eos_token_id=1, seed=0, n_future=n_future)


@pytest.mark.parametrize("n_future", [1, 3])
def test_one_from_scratch(n_future):
    config = ModelConfig(**SHAPE, n_future=3)
    made = skeleton(config, vocab_size=53, max_length=64, n_future=n_future, folder=None)
    assert shapes(made) == shapes(built(config, n_future)) and {p.device.type for p in made.parameters()} == {"meta"}


@pytest.mark.parametrize("changes", [{}, {"head_variant": "sequential"}, {"lora": LoraConfig(rank=2)}])
def test_one_of_a_pretrained_model_and_its_adapters(tmp_path, changes):
    family("qwen2", tie_word_embeddings=True).save_pretrained(tmp_path)
    config = ModelConfig(pretrained=str(tmp_path), n_future=3, **changes)
    made = skeleton(config, vocab_size=53, max_length=64, n_future=3, folder=tmp_path)
    assert shapes(made) == shapes(built(config, 3))


def test_the_first_heads_of_a_multi_token_model(tmp_path):
    built(ModelConfig(**SHAPE, n_future=3), 3).save_pretrained(tmp_path)
    config = ModelConfig(pretrained=str(tmp_path), n_future=3)
    assert shapes(skeleton(config, vocab_size=53, max_length=64, n_future=1, folder=tmp_path)) == shapes(built(config, 1))


def test_one_that_is_not_here_keeps_its_layers_however_many_heads_are_taken():
    config = ModelConfig(**SHAPE, n_future=3, pretrained="not/here")
    models = [skeleton(config, vocab_size=53, max_length=64, n_future=n, folder=None) for n in (1, 3)]
    assert [len(model.layers) for model in models] == [3, 3] and [len(model.heads) for model in models] == [1, 3]
