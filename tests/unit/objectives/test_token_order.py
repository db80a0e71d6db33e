"""The order of what is to come, token by token, and its listwise loss against the whole vocabulary's scores in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from tests.unit.objectives.guesses import Guess
from wmtp.objectives.linear_nll import linear_nll
from wmtp.objectives.token_order import order_targets
from wmtp.types import IGNORE_INDEX


def scores_of(tokens, vocab, window, segments=None):
    """A list of the vocabulary's scores for every position: window - d for a token that first comes in d places, else -inf."""
    rows = []
    for t in range(len(tokens)):
        scores = [-math.inf] * vocab
        for d in range(window, 0, -1):  # the nearest is written last
            there = t + d
            if there < len(tokens) and tokens[there] != IGNORE_INDEX and (segments is None or segments[there] == segments[t]):
                scores[tokens[there]] = float(window - d)
        rows.append(scores)
    return rows


def whole(targets, vocab):
    """Shares over the vocabulary, (B, T, V)."""
    batch, length, _ = targets.tokens_BTW.shape
    return torch.zeros(batch, length, vocab).scatter_add_(2, targets.tokens_BTW, targets.shares_BTW)


def test_the_order_of_a_text_by_hand():
    x, e = IGNORE_INDEX, math.e
    found = order_targets(torch.tensor([[x, 3, 1, 3, 2]]), window=3)
    assert found.labels_BT.tolist() == [[3, 1, 3, 2, x]]
    due = torch.tensor(
        [
            [0, e**1, 0, e**2],  # 3 is next, then 1; 3 again counts no more
            [0, e**2, 1, e**1],
            [0, 0, e**1, e**2],
            [0, 0, e**2, 0],
        ]
    )
    torch.testing.assert_close(whole(found, 4)[0, :4], due / due.sum(-1, keepdim=True))


TEXTS = st.lists(st.one_of(st.integers(0, 5), st.just(IGNORE_INDEX)), min_size=1, max_size=14)


@settings(max_examples=60, deadline=None)
@given(tokens=TEXTS, window=st.integers(1, 9), cut=st.integers(0, 14), packed=st.booleans())
def test_targets_are_the_softmax_of_the_scores(tokens, window, cut, packed):
    segments = [int(place >= cut) for place in range(len(tokens))] if packed else None
    found = order_targets(torch.tensor([tokens]), window, None if segments is None else torch.tensor([segments]))
    due = torch.tensor(scores_of(tokens, 6, window, segments), dtype=torch.float64).softmax(-1).nan_to_num()
    torch.testing.assert_close(whole(found, 6)[0].double(), due, rtol=1e-5, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), length=st.integers(2, 20), window=st.integers(1, 8), chunk=st.integers(1, 25))
def test_the_loss_and_its_gradients_are_listnets_over_the_whole_vocabulary(seed, length, window, chunk):
    generator, vocab = torch.Generator().manual_seed(seed), 9
    tokens = torch.randint(vocab, (1, length), generator=generator)
    tokens = tokens.masked_fill(torch.rand(1, length, generator=generator) < 0.2, IGNORE_INDEX)
    hidden = torch.randn(length, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(vocab, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    upstream = torch.rand(length, generator=generator, dtype=torch.float64)
    upstream = upstream.masked_fill(upstream < 0.3, 0.0)
    shares = torch.tensor(scores_of(tokens[0].tolist(), vocab, window), dtype=torch.float64).softmax(-1).nan_to_num()
    is_ranked = torch.tensor([t + 1 < length and tokens[0, t + 1].item() != IGNORE_INDEX for t in range(length)])
    oracle = -(shares * (hidden @ weight.T).log_softmax(-1)).sum(-1) * is_ranked
    exact = torch.autograd.grad(oracle, [hidden, weight], upstream)
    targets = order_targets(tokens, window)
    mixture = (targets.tokens_BTW[0], targets.shares_BTW[0])
    for kind in ({}, {"scale_N": upstream}, {"scale_N": upstream / 3}, {"guess": Guess(upstream)}):
        nll = linear_nll(hidden, weight, targets.labels_BT[0], mixture=mixture, chunk_size=chunk, **kind)
        torch.testing.assert_close(nll, oracle, rtol=1e-6, atol=1e-6)
        for a, b in zip(torch.autograd.grad(nll, [hidden, weight], upstream), exact, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_a_token_whose_probability_underflows_has_its_share_of_the_loss():
    hidden, weight = torch.tensor([[300.0]], requires_grad=True), torch.tensor([[1.0], [-1.0]], requires_grad=True)
    mixture = (torch.tensor([[0, 1]]), torch.tensor([[0.75, 0.25]]))
    nll = linear_nll(hidden, weight, torch.tensor([0]), mixture=mixture)
    assert nll.item() == pytest.approx(0.25 * 600)


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operator makes."""

    elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        made = function(*arguments, **(keywords or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


@pytest.mark.parametrize("scale", [None, torch.ones(64)])
def test_nothing_is_ever_as_large_as_all_positions_times_the_vocabulary(scale):
    length, vocab, window, chunk = 64, 500, 6, 4
    hidden, weight = torch.randn(length, 3, requires_grad=True), torch.randn(vocab, 3, requires_grad=True)
    with Largest() as largest:
        targets = order_targets(torch.randint(vocab, (1, length)), window)
        mixture = (targets.tokens_BTW[0], targets.shares_BTW[0])
        linear_nll(hidden, weight, targets.labels_BT[0], mixture=mixture, chunk_size=chunk, scale_N=scale).backward(
            torch.ones(64)
        )
    assert largest.elements <= max(chunk * vocab, vocab * 3, length * (window + 1))


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ValueError, match="must be at least 1"):
        order_targets(torch.zeros(1, 3, dtype=torch.long), 0)
