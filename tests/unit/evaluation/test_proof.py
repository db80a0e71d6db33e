"""A family that would complete texts otherwise here than on its own is refused before it does."""

import pytest
import torch

from tests.unit.evaluation.models import byte_tokenizer
from tests.unit.models.families import family
from wmtp.errors import ModelError
from wmtp.evaluation import proof
from wmtp.evaluation.proof import prove_completions

TEXT = byte_tokenizer()
STATES = {
    "mamba": {"num_hidden_layers": 2, "state_size": 4},
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 8, "attn_layer_indices": [1], "mamba_d_state": 8},
}


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "lfm2", "mixtral", "phi", *STATES])
def test_families_that_keep_their_state_in_the_cache_pass(name):
    prove_completions(family(name, **STATES.get(name, {}), vocab_size=258), TEXT, "x")
    prove_completions(family(name, **STATES.get(name, {}), vocab_size=258).bfloat16(), TEXT, "x")


def test_a_state_outside_of_the_cache_is_found():
    """RecurrentGemma keeps its own in its modules, where rows cannot be repeated or let go of."""
    model = family("recurrent_gemma", vocab_size=258, lru_width=32, attention_window_size=64)
    with pytest.raises(
        ModelError, match=r"^x: a recurrent_gemma model (does not complete texts here as|cannot complete texts)"
    ):
        prove_completions(model, TEXT, "x")


def test_rows_that_are_mixed_up_are_found(monkeypatch):
    monkeypatch.setattr(proof, "select_rows", lambda cache, rows: cache.batch_select_indices(torch.sort(rows).values))
    with pytest.raises(ModelError, match="a llama model does not complete texts here as it does on its own: with a cache its"):
        prove_completions(family("llama", vocab_size=258), TEXT, "x")


def test_what_a_family_does_not_take_is_one_line():
    model = family("llama", vocab_size=258)
    model.forward = lambda input_ids: model.model(input_ids)
    with pytest.raises(ModelError, match=r"^x: a llama model cannot complete texts here: [^\n]+$"):
        prove_completions(model, TEXT, "x")
