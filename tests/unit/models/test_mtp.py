"""The model against its definition: heads, causality, caching and saving."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.unit.models.tiny import tiny
from wmtp.config.training import ModelConfig
from wmtp.models import MTPForCausalLM
from wmtp.models.build import build_model
from wmtp.objectives import shift_labels
from wmtp.types import IGNORE_INDEX


@pytest.mark.parametrize("tie", [True, False])
def test_nll_of_every_head_is_its_logits_cross_entropy(ids, tie):
    model = tiny(tie=tie)
    labels = shift_labels(ids.masked_fill(torch.arange(12) < 3, IGNORE_INDEX), 3)
    output = model(input_ids=ids, labels_BTH=labels, return_entropy=True)
    for h, logits in enumerate(model.head_logits(ids)):
        expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels[..., h], reduction="none")
        torch.testing.assert_close(output.nll_BTH[..., h], expected, rtol=1e-5, atol=1e-5)
        p = logits.softmax(-1)
        torch.testing.assert_close(output.entropy_BTH[..., h], -(p * p.log()).sum(-1), rtol=1e-4, atol=1e-5)


def test_labels_of_fewer_heads_are_the_first_heads(ids):
    model = tiny()
    every = model(input_ids=ids, labels_BTH=shift_labels(ids, 3)).nll_BTH
    first = model(input_ids=ids, labels_BTH=shift_labels(ids, 1)).nll_BTH
    torch.testing.assert_close(first, every[..., :1], rtol=1e-6, atol=1e-6)


def test_no_head_sees_the_future(ids):
    """Gradient of every position's NLL with respect to later inputs is exactly zero."""
    model = tiny()
    embeds = model.get_input_embeddings()(ids).detach().requires_grad_()
    nll = model(inputs_embeds=embeds, labels_BTH=shift_labels(ids, 3)).nll_BTH
    for position in (0, 4, 8):
        (grad,) = torch.autograd.grad(nll[:, position].sum(), embeds, retain_graph=True)
        assert (grad[:, position + 1 :] == 0).all() and (grad[:, : position + 1] != 0).any()


def test_right_padding_changes_nothing(ids):
    model = tiny()
    padded = torch.cat([ids, torch.zeros(3, 4, dtype=torch.long)], dim=1)
    labels = shift_labels(ids, 3)
    padded_labels = shift_labels(padded.masked_fill(torch.arange(16) >= 12, IGNORE_INDEX), 3)
    torch.testing.assert_close(
        model(input_ids=padded, labels_BTH=padded_labels).nll_BTH[:, :12], model(input_ids=ids, labels_BTH=labels).nll_BTH
    )


@pytest.mark.parametrize("tie", [True, False])
def test_saved_model_loads_by_auto_class_and_generates_as_without_a_cache(ids, tmp_path, tie):
    model = tiny(tie=tie)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, MTPForCausalLM) and loaded.config.n_future == 3
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits)
    generated = loaded.generate(ids, max_new_tokens=9, do_sample=False, eos_token_id=None)
    expected = ids
    for _ in range(9):
        expected = torch.cat([expected, model(expected).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(generated, expected)


def test_the_same_number_of_layers_for_every_n_future():
    assert sum(p.numel() for p in tiny(n_future=1).parameters()) == sum(p.numel() for p in tiny(n_future=3).parameters())


def test_a_new_model_starts_as_the_identity_with_unit_inputs():
    model = build_model(ModelConfig(), vocab_size=500, max_length=64, pad_token_id=0, eos_token_id=1, seed=0)
    ids = torch.arange(2, 50)[None]
    read = []
    model.layers[0].register_forward_pre_hook(lambda module, args: read.append(args[0]))
    model.heads[0].register_forward_pre_hook(lambda module, args: read.append(args[0]))
    model(ids)
    assert read[0].std().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(read[0], read[1]), "the trunk's blocks add nothing yet"
    again = build_model(ModelConfig(), vocab_size=500, max_length=64, pad_token_id=0, eos_token_id=1, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
