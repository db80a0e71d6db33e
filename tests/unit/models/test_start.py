"""How new heads start: what they predict before anything is trained, on other people's families."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.unit.models.families import SIZES, family, padded_tokens
from wmtp.errors import ModelError
from wmtp.models import start as starts
from wmtp.models.heads import HeadLayout
from wmtp.models.load import from_causal_lm
from wmtp.models.start import STARTS, default_start, layout_of

NAMES = ("llama", "gemma2", "olmo2", "starcoder2", "mixtral", "gpt_oss", "gpt2")


def started(name, variant="parallel", start="copy", n_future=3, seed=0):
    layout = layout_of(variant, 2 if variant == "stride" else 1, start)
    return from_causal_lm(family(name), n_future, layout=layout, start=start, seed=seed)


@torch.no_grad()
def trunk_alone(name, ids):
    """Logits of the same model without its last layer, which transformers builds and runs itself."""
    source = family(name)
    layers = source.get_decoder()
    list_name = next(n for n, child in layers.named_children() if isinstance(child, torch.nn.ModuleList))
    setattr(layers, list_name, getattr(layers, list_name)[:-1])
    layers.config.num_hidden_layers -= 1
    return source(input_ids=ids, use_cache=False).logits


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_identity_predicts_what_head_0_does_and_zero_residual_what_the_trunk_does(name):
    ids, _ = padded_tokens()
    expected = family(name)(input_ids=ids).logits
    for logits in (*started(name, start="identity").head_logits(ids), *started(name, start="copy").head_logits(ids)):
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    first, *others = started(name, start="zero_residual").head_logits(ids)
    assert torch.equal(first, expected)
    for logits in others:
        torch.testing.assert_close(logits, trunk_alone(name, ids), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(logits, expected, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_a_chain_that_starts_as_identity_predicts_what_head_0_does_whatever_comes_next(name):
    ids, _ = padded_tokens()
    first, *others = started(name, "sequential", "identity").head_logits(ids)
    for logits in others:
        torch.testing.assert_close(logits, first, rtol=2e-3, atol=2e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", ["arcee", "apertus", "olmoe"])
def test_a_chain_starts_as_identity_where_hidden_states_are_so_small_that_a_norms_epsilon_counts(name):
    """As in models that nobody has trained: of the family's own numbers, a hundredth of what training makes of them."""
    torch.manual_seed(0)
    more = {"num_experts": 4, "num_experts_per_tok": 2} if name == "olmoe" else {}
    source = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **SIZES, **more)).eval()
    model = from_causal_lm(source, 3, layout=layout_of("sequential", 1, "identity"), start="identity")
    ids, _ = padded_tokens()
    first, *others = model.head_logits(ids)
    for logits in others:
        ratio = (logits / first).median()
        torch.testing.assert_close(logits, ratio * first, rtol=0.05, atol=0.05 * first.abs().max().item())


@torch.no_grad()
def test_random_heads_are_the_seeds_and_differ_from_copies():
    ids, _ = padded_tokens()
    one, again = started("qwen3", start="random"), started("qwen3", start="random")
    other = started("qwen3", start="random", seed=1)
    weights = [model.heads[1].mlp.up_proj.weight for model in (one, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert abs(weights[0].std().item() / one.model.config.initializer_range - 1) < 0.2
    assert not torch.equal(one.heads[1].mlp.up_proj.weight, one.heads[2].mlp.up_proj.weight)
    assert torch.equal(one.head_logits(ids)[0], family("qwen3")(input_ids=ids).logits)


@torch.no_grad()
def test_a_family_that_adds_by_matrices_of_another_name_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(starts, "_OUTPUTS", ("o_proj",))
    with pytest.raises(ModelError, match=r"llama model: head 1 does not start as zero_residual.*use copy"):
        started("llama", start="zero_residual")


def test_every_variant_has_a_start_of_its_own():
    for variant in ("parallel", "sequential", "stride"):
        assert default_start(variant) in STARTS
        layout_of(variant, 2 if variant == "stride" else 1, default_start(variant))
    with pytest.raises(ValueError, match="cannot read"):
        HeadLayout("sequential")
    with pytest.raises(ValueError, match="stride=2"):
        HeadLayout("parallel", 2)
    with pytest.raises(ValueError, match="variant 'odd'"):
        HeadLayout("odd")
