"""The loss and its gradients against materialised float64 logits and plain loops."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.objectives.labels import random_labels
from wmtp.objectives.linear_nll import linear_nll, linear_nll_reference
from wmtp.objectives.loss import local_normaliser, mtp_loss, target_scale
from wmtp.objectives.shift import expand_weights, shift_labels
from wmtp.types import IGNORE_INDEX


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
