"""Another implementation of attention learns the same; one that computes something else, or is not there, is refused."""

import re

import pytest
import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tests.distributed.harness import run_on_ranks
from tests.unit.models.families import family
from tests.unit.models.tiny import tiny
from wmtp.config.training import TrainConfig
from wmtp.errors import ConfigError, ModelError
from wmtp.models.load import put_heads
from wmtp.models.value import ValueModel
from wmtp.objectives import shift_labels
from wmtp.stages.fitting import shard


def learn(world, attention, ids, made, remat):
    """What attention is computed by, the loss, and every parameter's gradient."""
    model = made()
    config = TrainConfig(attention=attention, activation_checkpointing=remat)
    sharded = shard(model, world, config, "train_policy")
    if isinstance(sharded, ValueModel):
        backbone, loss = sharded.backbone, (sharded(ids) - 0.3).square().mean()
    else:
        backbone, loss = sharded, sharded(input_ids=ids, labels_BTH=shift_labels(ids, 2)).nll_BTH.mean()
    loss.backward()
    used = {module.config._attn_implementation for module in backbone.layers.modules() if hasattr(module, "config")}
    grads = {name: parameter.grad.full_tensor() for name, parameter in sharded.named_parameters() if parameter.grad is not None}
    return used, loss.item(), grads


def refused(world, attention, made):
    with pytest.raises((ConfigError, ModelError)) as error:
        dtype = "bfloat16" if attention.startswith("flash") else "float32"
        shard(made(), world, TrainConfig(attention=attention, dtype=dtype), "train_policy")
    return str(error.value)


def policy():
    return tiny()


def untied():
    return tiny(tie=False)


def critic():
    return ValueModel(tiny(), reference_nll_input=False, dropout=0.0)


def windowed():
    return put_heads(family("gemma3_text"), 3, "gemma3_text")


def learnt_positions():
    return put_heads(family("gpt2"), 2, "gpt2")


@pytest.mark.parametrize(
    ("made", "size", "remat"), [(policy, 1, False), (untied, 2, True), (critic, 2, False), (windowed, 2, True)]
)
def test_gradients_are_those_of_the_familys_own_choice(made, size, remat, ids, tmp_path):
    own, due, expected = run_on_ranks(size, learn, None, ids, made, remat, tmp_path=tmp_path)[0]
    used, loss, grads = run_on_ranks(size, learn, "eager", ids, made, remat, tmp_path=tmp_path)[0]
    assert (own, used) == ({"sdpa"}, {"eager"})
    assert loss == pytest.approx(due, rel=1e-6) and grads.keys() == expected.keys() and len(grads) > 20
    for name, grad in grads.items():
        torch.testing.assert_close(grad, expected[name], rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_what_computes_something_else_is_refused(tmp_path, monkeypatch):
    def sees_no_mask(module, query, key, value, mask, **options):
        return sdpa_attention_forward(module, query, key, value, None, **options)

    monkeypatch.setitem(AttentionInterface._global_mapping, "flex_attention", sees_no_mask)
    for said in run_on_ranks(2, refused, "flex_attention", windowed, tmp_path=tmp_path):
        assert re.fullmatch(
            r"train_policy.train.attention=flex_attention: head 0 differs by \S+ from the model's own on random tokens", said
        )


@pytest.mark.parametrize(
    ("attention", "made", "reason"),
    [
        (
            "flex_attention",
            learnt_positions,
            "GPT2Model does not support an attention implementation through torch's flex_attention",
        ),
        ("flash_attention_2", windowed, "FlashAttention2 has been toggled on, but it cannot be used"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(attention, made, reason, tmp_path):
    (said,) = run_on_ranks(1, refused, attention, made, tmp_path=tmp_path)
    assert said.startswith(f"train_policy.train.attention={attention} cannot be used here: {reason}") and "\n" not in said
