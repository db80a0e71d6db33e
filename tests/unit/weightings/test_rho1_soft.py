"""Soft selection against a softmax written out."""

import math

import pytest

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.weightings.base import target_weights


def test_weights_are_the_clipped_shares_of_a_softmax():
    inputs = make_inputs()
    weights = target_weights(make("rho1_soft", temperature=0.5, clip_max=1.5), inputs)
    reference = inputs.columns["reference_nll"]
    for h in range(3):
        places = [(b, t) for b in range(4) for t in range(9) if inputs.valid_BTH[b, t, h]]
        excess = [inputs.nll_BTH[b, t, h].item() - reference[b, t + 1 + h].item() for b, t in places]
        total = sum(math.exp(x / 0.5) for x in excess)
        for (b, t), x in zip(places, excess, strict=True):
            assert weights[b, t, h].item() == pytest.approx(min(1.5, math.exp(x / 0.5) / total * len(places)), rel=1e-5)
