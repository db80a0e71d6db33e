"""Heads on every family: head 0 is the model, bit for bit, and the others are where it says they are."""

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache

from tests.unit.models.families import FAMILIES, family, padded_tokens
from wmtp.models.heads import HeadLayout, Heads, layers_name, norm_name, unit_norm
from wmtp.models.load import from_causal_lm
from wmtp.objectives import shift_labels
from wmtp.types import IGNORE_INDEX


def differing(model):
    """Further heads that are no copies any more."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for head in model.heads[1:]:
            for parameter in head.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_head_0_is_the_model_and_every_head_is_cached_trained_and_saved(name, tmp_path):
    """Longer than any window, left-padded, greedy; every head's NLL is its logits' cross-entropy and gives it a gradient."""
    source, (ids, mask) = family(name), padded_tokens()
    seen, how = mask.bool(), {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    logits = source(input_ids=ids).logits
    padded = source(input_ids=ids, attention_mask=mask).logits[seen]
    text = source.generate(ids[:1, :20], **how)
    model = differing(from_causal_lm(source, 3))
    assert torch.equal(model(input_ids=ids).logits, logits)
    assert torch.equal(model(input_ids=ids, attention_mask=mask).logits[seen], padded)
    assert torch.equal(model.generate(ids[:1, :20], **how), text)
    whole = model.head_logits(ids)
    assert torch.equal(whole[0], logits) and not any(torch.allclose(other, logits, atol=1e-3) for other in whole[1:])
    cache = model.new_cache()
    parts = [model.head_hidden(part, past_key_values=cache) for part in ids.split([20, 1, 3, *[1] * 8], dim=1)]
    for h, expected in enumerate(whole):
        cached = model.unembedding(torch.cat([part[h] for part in parts], dim=1))
        torch.testing.assert_close(cached, expected, rtol=0, atol=5e-6 * max(1.0, expected.abs().max().item()))
    labels = shift_labels(ids.masked_fill(torch.arange(32) < 4, IGNORE_INDEX), 3)
    with torch.enable_grad():
        nll = model(input_ids=ids, labels_BTH=labels).nll_BTH
        nll.sum().backward()
    for h, expected in enumerate(whole):
        due = torch.nn.functional.cross_entropy(expected.mT, labels[..., h], reduction="none")
        torch.testing.assert_close(nll[..., h], due, rtol=1e-4, atol=1e-4)
    assert all(any(p.grad is not None and p.grad.any() for p in head.parameters()) for head in model.heads)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(loaded.head_logits(ids), whole, strict=True))


def test_siblings_share_the_configuration_and_no_tensor():
    model = from_causal_lm(family("qwen3"), 3)
    first, *others = model.heads
    assert all(head.self_attn.config is first.self_attn.config for head in others)
    assert [head.self_attn.layer_idx for head in model.heads] == [2, 3, 4]
    with torch.no_grad():
        first.mlp.up_proj.weight.zero_()
    assert all(head.mlp.up_proj.weight.any() for head in others)


def test_only_the_heads_that_are_asked_for_run():
    model, ran = from_causal_lm(family("llama"), 3), []
    for h, head in enumerate(model.heads):
        head.register_forward_hook(lambda *_, h=h: ran.append(h))
    ids, _ = padded_tokens()
    model(input_ids=ids)
    model(input_ids=ids, labels_BTH=shift_labels(ids, 2))
    model.head_hidden(ids)
    assert ran == [0, 0, 1, 0, 1, 2]


def test_what_a_decoder_asks_of_its_last_layer_the_heads_answer():
    decoder = family("gemma2").model
    last = decoder.layers[-1]
    heads = Heads(last, 2, 3, HeadLayout(), decoder.norm, 32)
    assert heads.self_attn is last.self_attn
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = heads.nothing_of_the_kind


def test_the_list_of_layers_and_the_norm_are_found_by_what_they_are():
    decoder = family("gpt2").get_decoder()
    assert (layers_name(decoder), norm_name(decoder)) == ("h", "ln_f")
    decoder.config.n_layer = 7
    with pytest.raises(ValueError, match="no single list of 7 layers"):
        layers_name(decoder)
    del decoder.ln_f
    with pytest.raises(ValueError, match="no norm"):
        norm_name(decoder)


def test_a_cache_has_a_layer_of_the_last_ones_kind_for_every_further_head():
    model = from_causal_lm(family("gemma2", layer_types=["full_attention", "full_attention", "sliding_attention"]), 3)
    kinds = [type(layer) for layer in DynamicCache(config=model.config.decoder_config).layers]
    assert [type(layer) for layer in model.new_cache().layers] == [*kinds, kinds[-1], kinds[-1]]
    assert len(model.new_cache(1).layers) == 3


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_a_norm_without_gain_has_none_whatever_its_weight_means(name):
    decoder = family(name).get_decoder()
    norm = getattr(decoder, norm_name(decoder))
    for parameter in norm.parameters():
        parameter.fill_(3.0)
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    centred = x - x.mean(-1, keepdim=True) if name == "gpt2" else x
    due = centred / centred.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(unit_norm(norm)(x), due, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(norm(x), due, atol=0.1)


@torch.no_grad()
def test_heads_that_read_head_0_are_layers_behind_it():
    """Written out with the last layer's own forward, on a family without masks or windows to speak of."""
    source, (ids, _) = family("llama"), padded_tokens()
    model = differing(from_causal_lm(source, 3, layout=HeadLayout(reads="head0")))
    caught = []
    model.layers[-1].register_forward_pre_hook(lambda module, args, kwargs: caught.append((args, kwargs)), with_kwargs=True)
    found = model.head_hidden(ids)
    (args, kwargs) = caught[0]
    behind = model.heads[0](*args, **kwargs)
    for h in (1, 2):
        due = model.norm(model.heads[h](behind, *args[1:], **kwargs))
        torch.testing.assert_close(found[h], due)


@torch.no_grad()
@pytest.mark.parametrize("name", ["qwen3", "gemma2", "mixtral"])
def test_a_chain_is_transformers_own_module_on_the_tokens_ahead(name):
    """Each head's joining, block and norm written out one by one, with what the decoder handed to its last layer."""
    torch.manual_seed(0)
    model = differing(from_causal_lm(family(name), 3, layout=HeadLayout("sequential", reads="head0"), start="copy"))
    caught, (ids, _) = [], padded_tokens()
    model.layers[-1].register_forward_pre_hook(lambda module, args, kwargs: caught.append((args, kwargs)), with_kwargs=True)
    found = model.head_hidden(ids)
    (args, kwargs) = caught[0]
    rest = {key: value for key, value in kwargs.items() if key != "hidden_states"}
    made = model.heads[0](*args, **kwargs)
    for h in (1, 2):
        head = model.heads[h]
        told = model.get_input_embeddings()(ids.roll(-h, dims=1))
        joined = head.enorm(told) @ head.eh_proj.weight[:, :32].T + head.hnorm(made) @ head.eh_proj.weight[:, 32:].T
        made = head.mtp_block(joined, *args[1:], **rest)
        torch.testing.assert_close(found[h], head.post_norm(made), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_head_of_a_chain_knows_the_tokens_before_its_target_and_no_others():
    torch.manual_seed(0)
    model = differing(from_causal_lm(family("llama"), 3, layout=HeadLayout("sequential", reads="head0"), start="copy"))
    ids, _ = padded_tokens()
    before, place = model.head_logits(ids), 20
    other = ids.clone()
    other[:, place] = (other[:, place] + 1) % 50
    for h, (a, b) in enumerate(zip(before, model.head_logits(other), strict=True)):
        changed = (a - b).abs().amax(dim=(0, 2)) > 1e-6
        inside = torch.arange(ids.shape[1] - h)
        assert torch.equal(changed[: len(inside)], inside >= place - h), h
