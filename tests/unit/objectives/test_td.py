"""Weights from TD errors, by hand."""

import math

import pytest
import torch

from tests.unit.weightings.inputs import make_inputs
from wmtp.objectives.td import TDStatistics, shuffle_response, spread, td_weights


def test_td_weights_by_hand_and_statistics_must_spread():
    weights = td_weights(torch.tensor([[0.1, 0.6, -9.0, 9.0]]), TDStatistics(0.1, 0.5), beta=1.0, clip_min=0.1, clip_max=3.0)
    torch.testing.assert_close(weights, torch.tensor([[1.0, math.e, 0.1, 3.0]]))
    for nothing in (0.0, 5e-8):
        with pytest.raises(ValueError, match="standard deviation"):
            TDStatistics(0.0, nothing)


def test_shuffle_keeps_each_rows_weights_and_its_order_for_a_seed():
    inputs = make_inputs(9)
    weights = torch.rand(4, 9)
    shuffled = shuffle_response(weights, inputs.prompt_lens_B, inputs.lengths_B, inputs.rows_B, seed=1)
    again = shuffle_response(weights[2:], inputs.prompt_lens_B[2:], inputs.lengths_B[2:], inputs.rows_B[2:], seed=1)
    assert torch.equal(shuffled[2:], again)
    for b in range(4):
        span = slice(int(inputs.prompt_lens_B[b]), int(inputs.lengths_B[b]))
        assert torch.equal(shuffled[b, span].sort().values, weights[b, span].sort().values)
        assert torch.equal(shuffled[b, : span.start], weights[b, : span.start])
    assert not torch.equal(shuffled, weights)


def test_the_spread_of_parts_is_the_spread_of_all():
    deltas = torch.randn(50, dtype=torch.float64)
    found = spread([(deltas[:20], 20), (deltas[20:], 30)])
    assert found.mean == pytest.approx(deltas.mean().item()) and found.std == pytest.approx(deltas.std(correction=0).item())
    with pytest.raises(ValueError, match="no response tokens"):
        spread([])
