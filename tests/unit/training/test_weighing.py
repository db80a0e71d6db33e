"""What is reported of weights, against sums over targets written out in Python."""

import math

import pytest
import torch

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.objectives import mtp_loss
from wmtp.training.weighing import weigh, weight_metrics
from wmtp.types import IGNORE_INDEX
from wmtp.weightings.base import LossShape, target_weights


class OneRank:
    def all_reduce(self, tensor):
        return tensor


class TwoRanks:
    """Plays back another rank's part."""

    def __init__(self, others):
        self.others = iter(others)

    def all_reduce(self, tensor):
        return tensor + next(self.others)


class Recorder(OneRank):
    def __init__(self):
        self.given = []

    def all_reduce(self, tensor):
        self.given.append(tensor.clone())
        return tensor


def weighted(name="verifiable", reduction="head_mean", normalise="mean_one", **changes):
    inputs = make_inputs(seed=5, **changes)
    weights = target_weights(make(name), inputs)
    return inputs, weights, weigh(OneRank(), inputs.labels_BTH, weights, LossShape(reduction, normalise))


def naive(labels, weights, reduction, normalise):
    """(mean, std, entropy, scaled weights by place) of the weights as the loss sees them."""
    valid = [tuple(place) for place in (labels != IGNORE_INDEX).nonzero().tolist()]
    w = {place: weights[place].item() for place in valid}
    heads = {(b, t): sum((b, t, h) in w for h in range(labels.shape[-1])) for b, t, _ in valid}
    if normalise == "mean_one" and reduction == "head_mean":
        for h in range(labels.shape[-1]):
            mine = [place for place in valid if place[2] == h]
            mean = sum(w[place] for place in mine) / len(mine)
            w |= {place: w[place] / mean for place in mine}
    elif normalise == "mean_one":
        mean = sum(w[b, t, h] / heads[b, t] for b, t, h in valid) / len(heads)
        w = {place: value / mean for place, value in w.items()}
    mass = {p: 1 / len(valid) if reduction == "head_mean" else 1 / heads[p[:2]] / len(heads) for p in valid}
    mean = sum(mass[p] * w[p] for p in valid)
    std = math.sqrt(sum(mass[p] * w[p] ** 2 for p in valid) - mean**2)
    shares = [mass[p] * w[p] / mean for p in valid]
    entropy = -sum(s * math.log(s) for s in shares if s > 0) / math.log(len(valid))
    return mean, std, entropy, w


@pytest.mark.parametrize("name", ["uniform", "verifiable", "rho1"])
@pytest.mark.parametrize("reduction", ["head_mean", "position_mean"])
@pytest.mark.parametrize("normalise", ["mean_one", "none"])
def test_mean_std_entropy_and_extremes_are_those_of_the_weights_in_the_loss(name, reduction, normalise):
    inputs, weights, joined = weighted(name, reduction, normalise)
    plain = inputs.valid_BTH.float() if weights is None else weights
    mean, std, entropy, scaled = naive(inputs.labels_BTH, plain, reduction, normalise)
    metrics = weight_metrics(joined)
    found = {key: (a / b).item() for key, (a, b) in metrics.ratios.items()}
    assert found["weight/mean"] == pytest.approx(mean, rel=1e-6) and found["weight/std"] == pytest.approx(std, abs=1e-5)
    assert found["weight/entropy"] == pytest.approx(entropy, rel=1e-6) and 0 <= found["weight/entropy"] <= 1 + 1e-9
    if normalise == "mean_one":
        assert found["weight/mean"] == pytest.approx(1)
    assert metrics.maxima["weight/max"].item() == pytest.approx(max(scaled.values()), rel=1e-6)
    assert metrics.minima["weight/min"].item() == pytest.approx(min(scaled.values()), rel=1e-6)
    for h in range(3):
        mine = [value for place, value in scaled.items() if place[2] == h]
        assert found[f"weight/selected_head{h}"] == pytest.approx(sum(value > 0 for value in mine) / len(mine))


@pytest.mark.parametrize("reduction", ["head_mean", "position_mean"])
def test_the_scales_are_the_losss_own_gradient(reduction):
    inputs, weights, joined = weighted("verifiable", reduction)
    nll = inputs.nll_BTH.double().requires_grad_()
    mtp_loss(nll, inputs.labels_BTH, weights, reduction=reduction).loss.backward()
    torch.testing.assert_close(joined.scale(), nll.grad)


def test_two_ranks_know_what_one_rank_knows():
    inputs = make_inputs(seed=5)
    weights, loss = target_weights(make("verifiable"), inputs), LossShape("position_mean", "mean_one")
    whole = weight_metrics(weigh(OneRank(), inputs.labels_BTH, weights, loss))
    halves, given = (slice(0, 1), slice(1, 4)), []
    for part in halves:
        recorder = Recorder()
        weigh(recorder, inputs.labels_BTH[part], weights[part], loss)
        given.append(recorder.given)
    for part, others in zip(halves, reversed(given), strict=True):
        found = weight_metrics(weigh(TwoRanks(others), inputs.labels_BTH[part], weights[part], loss))
        for key in ("weight/mean", "weight/std", "weight/entropy"):
            torch.testing.assert_close(found.ratios[key], whole.ratios[key])


@pytest.mark.parametrize("normalise", ["mean_one", "none"])
@pytest.mark.parametrize(
    ("change", "said"),
    [(0.0, "all zero"), (torch.nan, "NaN"), (torch.inf, "infinite"), (-torch.inf, "infinite"), (-1.0, "negative"), (1.0, "")],
)
def test_weights_that_are_all_zero_negative_or_not_finite_are_called_what_they_are(normalise, change, said):
    inputs = make_inputs()
    weights = torch.full_like(inputs.nll_BTH, change)
    weights = torch.where(inputs.valid_BTH, weights, 0.0)
    joined = weigh(OneRank(), inputs.labels_BTH, weights, LossShape("head_mean", normalise))
    noticed = [name for name, flag in weight_metrics(joined, "mine").broken.items() if flag]
    assert noticed[:1] == ([f"mine are {said}"] if said else [])
    one = (inputs.valid_BTH.nonzero()[3]).tolist()
    if said != "all zero":
        weights = inputs.valid_BTH.float()
        weights[tuple(one)] = change
        joined = weigh(OneRank(), inputs.labels_BTH, weights, LossShape("head_mean", normalise))
        assert [name for name, flag in joined.broken("mine").items() if flag][:1] == ([f"mine are {said}"] if said else [])
