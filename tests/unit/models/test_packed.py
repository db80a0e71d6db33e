"""Families that keep documents of one row apart pass the proof, those that do not are refused."""

import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention
from transformers.integrations.flex_attention import WrappedFlexAttention

from tests.unit.models.families import family
from wmtp.errors import ModelError
from wmtp.models.heads import HeadLayout
from wmtp.models.load import put_heads
from wmtp.models.packed import prove_packed

LAYOUTS = (HeadLayout(), HeadLayout(reads="head0"), HeadLayout("sequential", reads="head0"), HeadLayout("stride", 3))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(
    ("name", "attention"),
    [
        *(
            (name, attention)
            for name in ("llama", "mistral", "gemma3_text")
            for attention in ("sdpa", "eager", "flex_attention")
        ),
        *(("gpt2", attention) for attention in ("sdpa", "eager")),
    ],
)
def test_attention_in_full_and_in_windows_keeps_documents_apart(name, attention, monkeypatch):
    monkeypatch.setattr(WrappedFlexAttention, "__call__", lambda self: flex_attention)  # not compiled: a minute each on a CPU
    prove_packed(put_heads(family(name, attn_implementation=attention), 3, name), name)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.variant} {layout.reads}")
def test_so_do_heads_of_every_variant(layout):
    prove_packed(put_heads(family("mistral"), 3, "mistral", layout), "mistral")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("qwen3_next", "linear attention"),
        ("lfm2", "convolutions"),
        ("gpt_oss", "masks without positions"),
        ("opt", "own positions"),
    ],
)
def test_families_that_do_not_are_refused_in_one_line(name, reason):
    model = put_heads(family(name, **({"attn_implementation": "eager"} if name == "gpt_oss" else {})), 2, name)
    with pytest.raises(ModelError, match=rf"^it: a {name} model cannot learn from packed documents: .*$") as error:
        prove_packed(model, "it")
    assert "\n" not in str(error.value), reason


def test_the_model_is_left_as_it_was():
    model = put_heads(family("mistral"), 2, "mistral").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prove_packed(model, "it")
    assert model.training and model.model.config.sliding_window == 9
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
