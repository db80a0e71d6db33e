"""Rho-1: its selection, and the guess of it."""

import math

import pytest
import torch

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.errors import ConfigError
from wmtp.objectives import heads_first, target_scale
from wmtp.weightings.base import LossShape, target_weights


def test_the_targets_with_the_largest_excess_are_kept():
    """Against a sort in plain Python, head by head."""
    inputs = make_inputs()
    weights = target_weights(make("rho1"), inputs)
    reference = inputs.columns["reference_nll"]
    for h in range(3):
        scored = [
            (inputs.nll_BTH[b, t, h].item() - reference[b, t + 1 + h].item(), b, t)
            for b in range(4)
            for t in range(9)
            if inputs.valid_BTH[b, t, h]
        ]
        best = sorted(scored, reverse=True)[: math.ceil(0.6 * len(scored))]
        assert {(b, t) for _, b, t in best} == {tuple(place) for place in weights[..., h].nonzero().tolist()}


def test_head_0_can_be_kept_whole():
    inputs = make_inputs()
    weights = target_weights(make("rho1", always_keep_head0=True), inputs)
    assert torch.equal(weights[..., 0] > 0, inputs.valid_BTH[..., 0])
    assert torch.equal(weights[..., 1:], target_weights(make("rho1"), inputs)[..., 1:])


@pytest.mark.parametrize("reduction", ["head_mean", "position_mean"])
@pytest.mark.parametrize("normalise", ["mean_one", "none"])
@pytest.mark.parametrize("more", [{}, {"mode": "absolute"}, {"mode": "difficult"}, {"always_keep_head0": True}])
def test_rho1_is_guessed_while_the_nlls_come_in(reduction, normalise, more):
    """Nearly all that is selected is guessed, and its gradient is the loss's up to one factor."""
    inputs = make_inputs(batch=64, length=60)
    weighting = make("rho1", **more)
    counts_H = inputs.valid_BTH.sum(dim=(0, 1)).double()
    guess = weighting.guess(inputs, counts_H, LossShape(reduction, normalise))
    nll_N, valid = heads_first(inputs.nll_BTH), heads_first(inputs.valid_BTH).nonzero().squeeze(1)
    guessed_N = torch.zeros_like(nll_N)
    for chunk in (valid[i::9] for i in range(9)):
        guessed_N[chunk] = guess(chunk, nll_N[chunk])
    weights = target_weights(weighting, inputs)
    scale_N = heads_first(target_scale(inputs.labels_BTH, weights, reduction=reduction, normalise=normalise)).float()
    right_N = (guessed_N != 0) & (scale_N != 0)
    assert right_N.sum() > 0.92 * (scale_N != 0).sum() and right_N.sum() > 0.98 * (guessed_N != 0).sum()
    factors = scale_N[right_N] / guessed_N[right_N]
    torch.testing.assert_close(factors, factors[:1].expand_as(factors), rtol=1e-6, atol=0)


@pytest.mark.parametrize("bad", [{"keep_frac": 0.0}, {"keep_frac": 1.5}, {"mode": "other"}])
def test_bad_keys_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        make("rho1", **bad)
