"""The growing cache holds what the library's holds, and copies less."""

import itertools

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, RwkvConfig, RwkvForCausalLM
from transformers.cache_utils import DynamicCache, DynamicLayer

from tests.unit.evaluation.models import llama
from tests.unit.models.families import family
from wmtp.errors import EvaluationError, ModelError
from wmtp.evaluation.generate import Decoding, Prompt, generate
from wmtp.evaluation.kv_cache import GrowingLayer, cache_argument, growing_cache, select_rows, takes_back
from wmtp.models.load import from_causal_lm


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
    plain = growing_cache(llama(0))
    assert plain.layers == [] or {type(layer) for layer in plain.layers} == {GrowingLayer}
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 9}
    config = Gemma2Config(**sizes, num_hidden_layers=2, sliding_window=4)
    kinds = [type(layer) for layer in growing_cache(Gemma2ForCausalLM(config)).layers]
    expected = [GrowingLayer if type(layer) is DynamicLayer else type(layer) for layer in DynamicCache(config=config).layers]
    assert kinds == expected and len(set(kinds)) == 2, "a window's layer stays what it is"


def test_a_model_computes_the_same_with_it():
    model, ids = llama(0), torch.arange(3, 15)[None]
    cache, logits = growing_cache(model), []
    with torch.no_grad():
        for part in ids.split([5, 1, 1, 4, 1], dim=1):
            logits.append(model(input_ids=part, past_key_values=cache, use_cache=True).logits)
        torch.testing.assert_close(torch.cat(logits, dim=1), model(input_ids=ids).logits, rtol=1e-4, atol=1e-4)


STATES = {
    "mamba": {"num_hidden_layers": 2, "state_size": 4},
    "lfm2": {},
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 8, "attn_layer_indices": [1], "mamba_d_state": 8},
    "mistral": {},
}


@pytest.mark.parametrize("name", STATES)
def test_models_with_states_and_windows_complete_as_the_library_does(name):
    """Prompts of several lengths in one batch, each of them several rows, some of which end early and leave it."""
    model = family(name, **STATES[name], eos_token_id=None)
    generator = torch.Generator().manual_seed(0)
    prompts = [Prompt(str(n), tuple(torch.randint(3, 53, (n,), generator=generator).tolist())) for n in (4, 9, 14)]
    decoding = Decoding(0, 1.0, 1.0, 0, max_new_tokens=12, batch_size=64, eos_token_ids=(*range(3, 53, 9),))
    for prompt, answer in zip(prompts, generate(model, Words(), prompts, decoding), strict=True):
        whole = model.generate(torch.tensor([prompt.input_ids]), max_new_tokens=12, do_sample=False, pad_token_id=0)
        due = whole[0, len(prompt.input_ids) :].tolist()
        ends = [i for i, token in enumerate(due) if token in decoding.eos_token_ids]
        assert answer.completion == Words().decode(due[: ends[0]] if ends else due)


class Words:
    pad_token_id = 0

    def decode(self, ids):
        return " ".join(map(str, ids))


def test_rows_are_selected_from_states_and_keys_alike():
    model, ids = family("bamba", **STATES["bamba"]), torch.arange(3, 19).view(2, 8)
    cache, rows = growing_cache(model), torch.tensor([1, 0, 1])
    with torch.no_grad():
        model(input_ids=ids, past_key_values=cache, use_cache=True)
        select_rows(cache, rows)
        more, places = torch.tensor([[5], [6], [7]]), torch.tensor([[8]])  # places as `generate` gives them
        logits = model(input_ids=more, position_ids=places, past_key_values=cache, use_cache=True).logits
        whole = model(input_ids=torch.cat([ids[rows], more], dim=1)).logits[:, -1:]
    torch.testing.assert_close(logits, whole, rtol=1e-4, atol=1e-4)


def test_tokens_are_taken_back_from_plain_layers_and_within_windows_alone():
    assert takes_back(growing_cache(family("llama")), 10**6)
    windows = growing_cache(family("mistral", sliding_window=20))
    assert takes_back(windows, 19) and not takes_back(windows, 20)
    assert not takes_back(growing_cache(family("lfm2")), 1)
    model = from_causal_lm(family("mistral", eos_token_id=None), 3)
    decoding = Decoding(0, 1.0, 1.0, 0, max_new_tokens=12, batch_size=64, num_drafts=2)
    with pytest.raises(EvaluationError, match="num_drafts=2: proposals that are rejected cannot be taken back"):
        generate(model, Words(), [Prompt("a", (3, 4))], decoding)
    with pytest.raises(ModelError, match="a rwkv model keeps its state in its own way"):
        cache_argument(RwkvForCausalLM(RwkvConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2)))
