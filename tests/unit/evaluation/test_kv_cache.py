"""The growing cache holds what the library's holds, and copies less."""

import itertools

import torch
from transformers import Gemma2Config, LlamaConfig
from transformers.cache_utils import DynamicCache, DynamicLayer

from tests.unit.evaluation.models import llama
from wmtp.evaluation.kv_cache import GrowingLayer, growing_cache


def test_growing_layer_equals_the_library_layer():
    ours, theirs = GrowingLayer(), DynamicLayer()
    torch.manual_seed(0)
    batch = 6
    for step, length in enumerate([5, 1, 1, 3, 1, 1, 1, 8]):
        keys, values = torch.randn(batch, 2, length, 4), torch.randn(batch, 2, length, 4)
        for got, expected in zip(ours.update(keys, values), theirs.update(keys, values), strict=True):
            assert torch.equal(got, expected)
        if step == 3:
            chosen = torch.tensor([0, 2, 2, 5])
            ours.batch_select_indices(chosen)
            theirs.batch_select_indices(chosen)
            batch = 4
        if step == 5:
            ours.crop(-2)
            theirs.crop(-2)
    assert ours.get_seq_length() == theirs.get_seq_length()


def test_repeated_rows_grow_apart():
    ours, theirs = GrowingLayer(), DynamicLayer()
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 2, 2, 3, 4, generator=generator)
    for layer in (ours, theirs):
        layer.update(*states)
        layer.batch_repeat_interleave(3)
    more = torch.randn(2, 6, 2, 1, 4, generator=generator)
    for got, expected in zip(ours.update(*more), theirs.update(*more), strict=True):
        assert torch.equal(got, expected)


def test_room_doubles_so_that_most_steps_copy_nothing():
    layer, places = GrowingLayer(), []
    for _ in range(64):
        keys, _ = layer.update(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
        places.append(keys.untyped_storage().data_ptr())
    moves = sum(a != b for a, b in itertools.pairwise(places))
    assert moves == 6, "at 1, 2, 4, 8, 16 and 32"


def test_only_plain_layers_are_replaced():
    plain = growing_cache(LlamaConfig(num_hidden_layers=2, hidden_size=8, num_attention_heads=2))
    assert plain.layers == [] or {type(layer) for layer in plain.layers} == {GrowingLayer}
    config = Gemma2Config(num_hidden_layers=2, sliding_window=4, hidden_size=8, num_attention_heads=2, num_key_value_heads=2)
    kinds = [type(layer) for layer in growing_cache(config).layers]
    expected = [GrowingLayer if type(layer) is DynamicLayer else type(layer) for layer in DynamicCache(config=config).layers]
    assert kinds == expected and len(set(kinds)) == 2, "a window's layer stays what it is"


def test_a_model_computes_the_same_with_it():
    model, ids = llama(0), torch.arange(3, 15)[None]
    cache, logits = growing_cache(model.config), []
    with torch.no_grad():
        for part in ids.split([5, 1, 1, 4, 1], dim=1):
            logits.append(model(input_ids=part, past_key_values=cache, use_cache=True).logits)
        torch.testing.assert_close(torch.cat(logits, dim=1), model(input_ids=ids).logits, rtol=1e-4, atol=1e-4)
