"""What heads of every variant propose, against one whole forward pass over the text so far; and that it changes no text."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, LlamaConfig

from tests.unit.evaluation.models import EOS, PAD, SIZES, byte_tokenizer
from tests.unit.evaluation.test_generate import make_decoding, make_prompts
from wmtp.evaluation import generate as generating
from wmtp.evaluation.drafts import drafts_of, most_drafts
from wmtp.evaluation.generate import generate
from wmtp.models.mtp import MTPConfig, MTPForCausalLM

pytestmark = pytest.mark.slow

TOKENIZER = byte_tokenizer()
VARIANTS = {
    "parallel": {},
    "behind head 0": {"head_reads": "head0"},
    "stride 2": {"head_variant": "stride", "head_stride": 2},
    "stride 3": {"head_variant": "stride", "head_stride": 3},
    "sequential": {"head_variant": "sequential", "head_reads": "head0"},
    "sequential, normed": {"head_variant": "sequential", "head_reads": "normed"},
}


def make_model(variant, seed=0, n_future=3, scale=1.0):
    """In float64. `scale`: of what further heads add; small ones often propose what head 0 says."""
    torch.manual_seed(seed)
    llama = LlamaConfig(**SIZES, num_hidden_layers=3, eos_token_id=EOS, pad_token_id=PAD)
    model = MTPForCausalLM(MTPConfig(text_config=llama, n_future=n_future, **VARIANTS[variant])).eval()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 * 1.5)
    for head in model.heads[1:]:
        block = getattr(head, "mtp_block", head)
        for linear in (block.self_attn.o_proj, block.mlp.down_proj):
            linear.weight.data *= scale
    return model.double()


def due(model, text, num_drafts):
    """The proposals after a text whose last token is the newest choice of head 0's: one token after the other, uncached."""
    last, stride, found = len(text) - 2, model.config.head_stride, []
    for i in range(1, num_drafts + 1):
        head = -(-i // stride)
        place = last - (head * stride - i)
        ids = torch.tensor([text + found if model.config.layout.is_chain else text[:-1]])
        if place < 0:
            found.append(None)  # no position looks there yet: anything may be proposed
            continue
        hidden = model.head_hidden(ids, num_heads=head + 1)[head][0, place]
        found.append(model.unembedding(hidden).argmax().item())
    return found


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("seed", "num_drafts", "scale"), [(0, 1, 0.3), (1, 2, 0.3), (2, 3, 0.1), (3, 3, 0.0), (4, 2, 1.0)])
def test_proposals_are_those_of_a_whole_forward_pass(monkeypatch, variant, seed, num_drafts, scale):
    model, prompts = make_model(variant, seed, n_future=4, scale=scale), make_prompts(5, seed)
    seen = []

    class Watched(generating._Batch):
        def _draft(self, ids_RS, next_R, accepted_R, positions_R):
            drafts_RS = super()._draft(ids_RS, next_R, accepted_R, positions_R)
            for place, row in enumerate(self.alive_R.tolist()):
                if row not in self.finished:
                    made = self.tokens_RT[row, : self.lengths_R[row]].tolist()
                    text = [*self.rows[row][0].input_ids, *made, int(next_R[place])]
                    assert positions_R[place] == len(text) - 1
                    seen.append((text, drafts_RS[place].tolist()))
            return drafts_RS

    monkeypatch.setattr(generating, "_Batch", Watched)
    generate(model, TOKENIZER, prompts, make_decoding(num_samples=0, max_new_tokens=12, num_drafts=num_drafts))
    assert len(seen) >= 15
    for text, proposed in seen:
        expected = due(model, text, num_drafts)
        assert [token for token, one in zip(proposed, expected, strict=True) if one is not None] == [
            one for one in expected if one is not None
        ], text


@settings(max_examples=30, deadline=None)
@given(
    variant=st.sampled_from(sorted(VARIANTS)),
    seed=st.integers(0, 99),
    n_future=st.integers(2, 4),
    num_drafts=st.integers(1, 7),
    scale=st.sampled_from([0.0, 0.3, 1.0]),
    number=st.integers(1, 5),
    max_new_tokens=st.integers(1, 20),
    batch_size=st.sampled_from([1, 5, 64]),
    num_samples=st.integers(0, 2),
)
def test_completions_are_those_without_proposals(
    variant, seed, n_future, num_drafts, scale, number, max_new_tokens, batch_size, num_samples
):
    """Greedy and sampled ones, token for token."""
    model, prompts = make_model(variant, seed, n_future, scale), make_prompts(number, seed)
    decoding = make_decoding(max_new_tokens=max_new_tokens, batch_size=batch_size, num_samples=num_samples, temperature=0.7)
    plain = generate(model, TOKENIZER, prompts, decoding)
    fast = generate(model, TOKENIZER, prompts, replace(decoding, num_drafts=num_drafts))
    assert [replace(one, num_forwards=0) for one in fast] == [replace(one, num_forwards=0) for one in plain]
    most = min(num_drafts, most_drafts(model))
    assert all(one.num_tokens / (1 + most) <= one.num_forwards <= one.num_tokens for one in fast)


@pytest.mark.parametrize("variant", VARIANTS)
def test_right_proposals_save_forward_passes(variant):
    """A model that says one token whatever it reads, whichever head speaks."""
    model = make_model(variant, n_future=3)
    with torch.no_grad():
        model.norm.weight.zero_()
        for head in model.heads[1:]:
            if hasattr(head, "post_norm"):
                head.post_norm.weight.zero_()
    most = most_drafts(model)
    decoding = make_decoding(num_samples=0, max_new_tokens=1 + 5 * (1 + most), num_drafts=99)
    assert {one.num_forwards for one in generate(model, TOKENIZER, make_prompts(4), decoding)} == {6}


def test_a_stride_proposes_as_many_tokens_as_its_heads_span():
    assert [most_drafts(make_model(variant, n_future=3)) for variant in VARIANTS] == [2, 2, 4, 6, 2, 2]
    assert drafts_of(make_model("stride 2", n_future=3), 3).num_heads == 3


def test_families_that_hand_on_tuples_or_have_places_of_their_own_propose_too():
    config = GPT2Config(vocab_size=258, n_embd=32, n_layer=2, n_head=4, n_positions=64, eos_token_id=EOS, pad_token_id=PAD)
    torch.manual_seed(0)
    model = MTPForCausalLM(MTPConfig(text_config=config, n_future=3, **VARIANTS["sequential"])).double().eval()
    decoding = make_decoding(max_new_tokens=15, num_samples=1)
    plain = generate(model, TOKENIZER, make_prompts(3), decoding)
    fast = generate(model, TOKENIZER, make_prompts(3), replace(decoding, num_drafts=2))
    assert [one.completion for one in fast] == [one.completion for one in plain]
