"""Operations of a training step against torch's own count of the matrix products that it runs."""

import itertools

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.unit.models.families import VOCAB, family
from wmtp.config.training import LoraConfig
from wmtp.models.flops import Attention, model_flops
from wmtp.models.load import from_causal_lm
from wmtp.models.lora import add_adapters
from wmtp.models.value import ValueModel

ROWS, LENGTH = 2, 24
FAMILIES = ("llama", "qwen2", "gemma2", "olmo2", "phi3", "starcoder2", "granite", "gpt2", "deepseek_v3", "qwen3_moe")


def counted(model, loss_of):
    """Of the forward and backward pass, with attention as products that are seen (those of whole squares)."""
    backbone = getattr(model, "backbone", model)
    backbone.model.set_attn_implementation("eager")
    backbone.config.decoder_config._experts_implementation = "eager"
    ids_BT = torch.randint(3, VOCAB, (ROWS, LENGTH), generator=torch.Generator().manual_seed(1))
    with FlopCounterMode(display=False) as counter:
        loss_of(ids_BT).backward()
    return counter.get_total_flops()


def expected(flops):
    """What `model_flops` says, for whole squares and for a target at every place."""
    squares = sum(layer.per_pair for layer in flops.attention) * LENGTH**2
    return ROWS * (LENGTH * (flops.per_token + flops.num_heads * flops.per_target) + squares)


@pytest.mark.parametrize("num_heads", [1, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_as_many_as_torch_counts_for_every_family(name, num_heads):
    model = from_causal_lm(family(name), num_heads)
    found = counted(model, lambda ids: sum(logits.square().sum() for logits in model.head_logits(ids)))
    assert found == pytest.approx(expected(model_flops(model)), rel=0.02)


def test_frozen_matrices_have_no_gradient_of_their_own():
    model = from_causal_lm(family("llama", hidden_size=64), 1)
    whole = model_flops(model)
    add_adapters(model, LoraConfig(rank=2), seed=0)
    found = counted(model, lambda ids: model(input_ids=ids, logits_to_keep=0).logits.square().sum())
    first_inputs = 2 * ROWS * LENGTH * 64 * (32 + 16 + 16)  # nothing before the first layer but adapters is trained
    assert found == pytest.approx(expected(model_flops(model)), abs=2 * first_inputs, rel=0.01)
    assert expected(model_flops(model)) < 0.8 * expected(whole)


def test_a_critic_reads_one_head_and_no_unembedding():
    model = ValueModel(from_causal_lm(family("llama"), 1), head="mlp")
    found = counted(model, lambda ids: model(ids, torch.ones(ids.shape)).square().sum())
    assert found == pytest.approx(expected(model_flops(model)), rel=0.02)
    assert model_flops(model).num_heads == 0


def test_while_the_trunk_is_frozen_it_runs_forward_alone():
    model = from_causal_lm(family("llama"), 3)
    labels_BTH = torch.randint(3, VOCAB, (ROWS, LENGTH, 3), generator=torch.Generator().manual_seed(2))

    def loss(ids_BT):
        return model(input_ids=ids_BT, labels_BTH=labels_BTH, frozen_trunk=True).nll_BTH.sum()

    found = counted(model, loss)
    logits_again = 2 * VOCAB * 32 * ROWS * LENGTH * 3  # the unembedding's backward makes them a second time
    assert found - logits_again == pytest.approx(expected(model_flops(model, frozen_trunk=True)), rel=0.03)


@pytest.mark.parametrize("kind", ["full", "sliding", "chunked"])
@pytest.mark.parametrize("span", [1, 3, 4, 50])
def test_pairs_are_those_that_a_mask_lets_through(kind, span):
    lengths = np.array([1, 2, 5, 12, 13])
    sees = {
        "full": lambda q, k: k <= q,
        "sliding": lambda q, k: k <= q < k + span,
        "chunked": lambda q, k: k <= q and q // span == k // span,
    }[kind]
    due = [sum(sees(q, k) for q, k in itertools.product(range(length), repeat=2)) for length in lengths.tolist()]
    found = Attention(1.0, None if kind == "full" else span, kind == "chunked").pairs(lengths)
    assert found.tolist() == due
