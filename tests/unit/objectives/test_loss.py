"""The loss, its NLL and every gradient against materialised float64 logits and plain loops."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wmtp.objectives.linear_nll import linear_nll, linear_nll_reference
from wmtp.objectives.loss import local_normaliser, mtp_loss, target_scale
from wmtp.objectives.shift import expand_weights, shift_labels
from wmtp.types import IGNORE_INDEX


def random_labels(generator, batch, length, vocab, ignored=0.3):
    labels = torch.randint(vocab, (batch, length), generator=generator)
    return labels.masked_fill(torch.rand(batch, length, generator=generator) < ignored, IGNORE_INDEX)


def naive_loss(nll, labels, weights, reduction, normalise):
    """Loops over every target, straight from the definition."""
    batch, length, heads = labels.shape
    targets = [i for i in itertools.product(range(batch), range(length), range(heads)) if labels[i] != IGNORE_INDEX]
    weight = {i: 1.0 if weights is None else weights[i].item() for i in targets}
    if reduction == "head_mean":
        losses = []
        for head in range(heads):
            mine = [i for i in targets if i[2] == head]
            total = sum(weight[i] for i in mine) if normalise == "mean_one" else len(mine)
            if mine:
                losses.append(sum(nll[i] * weight[i] for i in mine) / total)
        return sum(losses) / len(losses)
    places = sorted({i[:2] for i in targets})
    loss, total = 0.0, 0.0
    for place in places:
        mine = [i for i in targets if i[:2] == place]
        loss = loss + sum(nll[i] * weight[i] for i in mine) / len(mine)
        total += sum(weight[i] for i in mine) / len(mine) if normalise == "mean_one" else 1
    return loss / total


@pytest.mark.parametrize("reduction", ["head_mean", "position_mean"])
@pytest.mark.parametrize("normalise", ["mean_one", "none"])
@pytest.mark.parametrize("alignment", ["none", "target", "source", "per_target"])
@pytest.mark.parametrize("shape", [(2, 5, 3), (1, 2, 4), (3, 1, 1)])
def test_mtp_loss_and_gradients_match_naive_float64(reduction, normalise, alignment, shape):
    batch, length, heads = shape
    generator = torch.Generator().manual_seed(3)
    labels_BT = torch.cat([torch.full((batch, 1), 1), random_labels(generator, batch, length, 11)], dim=1)
    labels_BT[:, 1] = 2
    labels_BT[0, 2:] = IGNORE_INDEX
    labels = shift_labels(labels_BT, heads)
    hidden = torch.randn(heads, batch * (length + 1), 6, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    if alignment == "none":
        weights = None
    elif alignment == "per_target":
        weights = expand_weights(torch.rand(labels.shape, generator=generator).double() + 0.1, labels, "target")
    else:
        weights = expand_weights(torch.rand(batch, length + 1, generator=generator).double() + 0.1, labels, alignment)

    def gradients(nll_function, loss_function):
        per_head = [nll_function(hidden[h], weight, labels[..., h].flatten()).view(labels.shape[:2]) for h in range(heads)]
        loss = loss_function(torch.stack(per_head, dim=-1))
        return loss, *torch.autograd.grad(loss, [hidden, weight])

    def loss(nll):
        return mtp_loss(nll, labels, weights, reduction=reduction, normalise=normalise).loss

    scales = iter(target_scale(labels, weights, reduction=reduction, normalise=normalise).unbind(dim=-1))
    oracle = gradients(linear_nll_reference, lambda nll: naive_loss(nll, labels, weights, reduction, normalise))
    for ours in (
        gradients(linear_nll, loss),
        gradients(lambda *rows: linear_nll(*rows, scale_N=next(scales).flatten()), loss),
    ):
        for a, b in zip(ours, oracle, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 40),
    width=st.integers(1, 8),
    vocab=st.integers(1, 30),
    chunk=st.integers(1, 50),
    seed=st.integers(0, 999),
)
def test_linear_nll_is_the_same_for_every_chunk_size(rows, width, vocab, chunk, seed):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, width, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(vocab, width, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = random_labels(generator, 1, rows, vocab)[0]
    upstream = torch.rand(rows, generator=generator, dtype=torch.float64)
    upstream = upstream.masked_fill(upstream < 0.4, 0.0)
    oracle = linear_nll_reference(hidden, weight, labels)
    exact = torch.autograd.grad(oracle, [hidden, weight], upstream)
    shuffled = upstream[torch.randperm(rows, generator=generator)]
    kinds = [{"scale_N": scale} for scale in (None, upstream, upstream / 3)]
    for guessed in (upstream, -7 * upstream, upstream * (torch.arange(rows) % 2), shuffled, torch.ones_like(upstream)):
        kinds.append({"guess": lambda index, nll, guessed=guessed: guessed[index]})
    for kind in kinds:
        nll = linear_nll(hidden, weight, labels, chunk_size=chunk, **kind)
        torch.testing.assert_close(nll, oracle, rtol=1e-12, atol=1e-12)
        for a, b in zip(torch.autograd.grad(nll, [hidden, weight], upstream), exact, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_a_guess_is_asked_for_every_valid_row_once_and_works_for_two_backward_passes():
    hidden, weight = torch.randn(9, 2, requires_grad=True), torch.randn(5, 2, requires_grad=True)
    labels = torch.tensor([0, 1, IGNORE_INDEX, 2, 3, 4, IGNORE_INDEX, 0, 1])
    asked = []

    def guess(rows, nll):
        asked.append((rows, nll))
        return (rows % 2).float()

    nll = linear_nll(hidden, weight, labels, chunk_size=2, guess=guess)
    rows = torch.cat([rows for rows, _ in asked])
    assert sorted(rows.tolist()) == [0, 1, 3, 4, 5, 7, 8] and max(len(rows) for rows, _ in asked) == 2
    torch.testing.assert_close(torch.cat([nll for _, nll in asked]), nll[rows])
    first = torch.autograd.grad(nll, [hidden, weight], torch.ones(9), retain_graph=True)
    for a, b in zip(torch.autograd.grad(nll, [hidden, weight], torch.ones(9)), first, strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        asked.clear()
        assert not linear_nll(hidden, weight, labels, guess=guess).requires_grad and not asked


def test_a_label_whose_probability_underflows_has_its_nll():
    hidden, weight = (
        torch.tensor([[300.0], [80.0], [1.0]], requires_grad=True),
        torch.tensor([[1.0], [-1.0]], requires_grad=True),
    )
    labels = torch.tensor([1, 1, 1])
    for kind in ({}, {"scale_N": torch.ones(3)}, {"guess": lambda rows, nll: torch.ones(len(rows))}):
        nll = linear_nll(hidden, weight, labels, **kind)
        torch.testing.assert_close(nll.double(), linear_nll_reference(hidden, weight, labels), rtol=1e-6, atol=0)
        grad_hidden, _ = torch.autograd.grad(nll.sum(), [hidden, weight])
        torch.testing.assert_close(grad_hidden.squeeze(), torch.tensor([2.0, 2.0, 2.0 / (1 + torch.e**-2)]))


@pytest.mark.parametrize("promised", [False, True])
def test_linear_nll_in_bfloat16_is_float32_and_near_the_oracle(promised):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(33, 16, generator=generator).bfloat16().requires_grad_()
    weight = torch.randn(50, 16, generator=generator).bfloat16().requires_grad_()
    labels = random_labels(generator, 1, 33, 50)[0]
    scale = torch.ones(33) if promised else None
    nll, oracle = linear_nll(hidden, weight, labels, scale_N=scale), linear_nll_reference(hidden, weight, labels)
    assert nll.dtype == torch.float32
    torch.testing.assert_close(nll.double(), oracle, rtol=1e-5, atol=1e-5)
    (ours,) = torch.autograd.grad(nll.sum(), weight)
    (exact,) = torch.autograd.grad(oracle.sum(), weight)
    torch.testing.assert_close(ours, exact, rtol=0.02, atol=0.03)


def test_rows_without_upstream_gradient_cost_no_backward_work():
    """A row of NaN would poison the weight gradient if it were touched."""
    hidden = torch.randn(4, 3)
    hidden[2] = float("nan")
    hidden.requires_grad_()
    weight = torch.randn(5, 3, requires_grad=True)
    nll = linear_nll(hidden, weight, torch.tensor([0, 1, 2, 3]))
    (grad_hidden, grad_weight) = torch.autograd.grad(nll, [hidden, weight], torch.tensor([1.0, 1.0, 0.0, 1.0]))
    assert torch.isfinite(grad_weight).all() and (grad_hidden[2] == 0).all()


def test_rows_promised_no_gradient_cost_no_backward_work():
    hidden = torch.tensor([[1.0, 2.0], [float("nan"), 0.0], [3.0, 4.0]], requires_grad=True)
    weight = torch.randn(5, 2, requires_grad=True)
    upstream = torch.tensor([1.0, 0.0, 2.0])
    nll = linear_nll(hidden, weight, torch.tensor([0, 1, IGNORE_INDEX]), scale_N=upstream)
    grad_hidden, grad_weight = torch.autograd.grad(nll, [hidden, weight], upstream)
    assert torch.isfinite(grad_weight).all() and (grad_hidden[1:] == 0).all() and (grad_hidden[0] != 0).any()


def test_a_broken_promise_is_an_error_and_not_a_wrong_gradient():
    hidden, weight = torch.randn(3, 2, requires_grad=True), torch.randn(5, 2, requires_grad=True)
    labels, scale = torch.tensor([0, 1, 2]), torch.tensor([1.0, 0.0, 2.0])
    for upstream in ([1.0, 1.0, 2.0], [1.0, 0.0, 2.1], [float("nan"), 0.0, 2.0]):
        with pytest.raises(ValueError, match="no multiple"):
            linear_nll(hidden, weight, labels, scale_N=scale).backward(torch.tensor(upstream))
    nll = linear_nll(hidden, weight, labels, scale_N=scale)
    nll.backward(scale, retain_graph=True)
    with pytest.raises(ValueError, match="earlier backward"):
        nll.backward(scale)
    with torch.no_grad():
        assert not linear_nll(hidden, weight, labels, scale_N=scale).requires_grad


@pytest.mark.parametrize(
    "bad",
    [
        {"labels_N": torch.zeros(3, dtype=torch.long)},
        {"chunk_size": 0},
        {"weight_VD": torch.zeros(5, 2)},
        {"scale_N": torch.zeros(3)},
        {"scale_N": torch.zeros(4), "guess": lambda rows, nll: nll},
    ],
)
def test_linear_nll_refuses_what_does_not_fit(bad):
    good = {"hidden_ND": torch.zeros(4, 3), "weight_VD": torch.zeros(5, 3), "labels_N": torch.zeros(4, dtype=torch.long)}
    with pytest.raises(ValueError):
        linear_nll(**good | bad)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999),
    reduction=st.sampled_from(["head_mean", "position_mean"]),
    extra=st.integers(0, 4),
    cut=st.integers(1, 4),
)
def test_loss_does_not_depend_on_padding_or_micro_batches(seed, reduction, extra, cut):
    generator = torch.Generator().manual_seed(seed)
    labels_BT = random_labels(generator, 5, 6, 9)
    labels_BT[0] = 3
    labels = shift_labels(labels_BT, 2)
    nll = torch.rand(labels.shape, generator=generator, dtype=torch.float64)
    weights = expand_weights(torch.rand(5, 6, generator=generator) + 0.1, labels, "target")
    whole = mtp_loss(nll, labels, weights, reduction=reduction).loss

    def pad(x, value):
        return torch.cat([x, torch.full((x.shape[0], extra, x.shape[2]), value, dtype=x.dtype)], dim=1)

    padded = mtp_loss(pad(nll, 7.0), pad(labels, IGNORE_INDEX), pad(weights, 0.0), reduction=reduction).loss
    torch.testing.assert_close(padded, whole, rtol=1e-12, atol=0)
    parts = [slice(0, cut), slice(cut, 5)]
    normaliser = sum(local_normaliser(labels[p], weights[p], reduction=reduction) for p in parts)
    split = sum(mtp_loss(nll[p], labels[p], weights[p], reduction=reduction, normaliser=normaliser).loss for p in parts)
    torch.testing.assert_close(split, whole, rtol=1e-12, atol=0)


def test_scaling_all_weights_changes_nothing_under_mean_one():
    labels = shift_labels(torch.randint(5, (3, 7)), 2)
    nll, weights = torch.rand(labels.shape), expand_weights(torch.rand(3, 7), labels, "source")
    torch.testing.assert_close(mtp_loss(nll, labels, weights).loss, mtp_loss(nll, labels, weights * 17).loss)


def test_shift_labels_by_hand_and_across_documents():
    labels = torch.tensor([[10, 11, 12, 13]])
    x = IGNORE_INDEX
    assert shift_labels(labels, 2).tolist() == [[[11, 12], [12, 13], [13, x], [x, x]]]
    packed = shift_labels(labels, 2, torch.tensor([[0, 0, 1, 1]]))
    assert packed.tolist() == [[[11, x], [x, x], [13, x], [x, x]]]
    assert shift_labels(torch.tensor([[1]]), 3).tolist() == [[[x, x, x]]]


def test_expand_weights_alignment_by_hand():
    labels = shift_labels(torch.tensor([[5, 6, 7]]), 2)
    weights = torch.tensor([[1.0, 2.0, 3.0]])
    assert expand_weights(weights, labels, "target").tolist() == [[[2, 3], [3, 0], [0, 0]]]
    assert expand_weights(weights, labels, "source").tolist() == [[[1, 1], [2, 0], [0, 0]]]
    with pytest.raises(ValueError, match="alignment"):
        expand_weights(weights, labels, "both")
