"""The blind selection."""

import math

import torch

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.weightings.base import target_weights


def test_as_many_as_rho1_keeps_and_others_at_every_step():
    inputs = make_inputs(batch=16)
    weights = target_weights(make("random"), inputs)
    for h in range(3):
        assert weights[..., h].sum() == math.ceil(0.6 * int(inputs.valid_BTH[..., h].sum()))
    assert torch.equal(weights, target_weights(make("random"), make_inputs(batch=16)))
    assert not torch.equal(weights, target_weights(make("random"), make_inputs(batch=16, step=4)))
