"""Retrospective excess: what the policy has gained since its start."""

import math

import pytest

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.errors import ConfigError
from wmtp.weightings.base import target_weights


def test_the_targets_that_gained_most_are_kept():
    inputs = make_inputs(columns=("start_nll",))
    weights = target_weights(make("sstoken"), inputs)
    start = inputs.columns["start_nll"]
    for h in range(3):
        gains = [
            (start[b, t + 1 + h].item() - inputs.nll_BTH[b, t, h].item(), b, t)
            for b, t in inputs.valid_BTH[..., h].nonzero().tolist()
        ]
        best = sorted(gains, reverse=True)[: math.ceil(0.6 * len(gains))]
        assert {(b, t) for _, b, t in best} == {tuple(place) for place in weights[..., h].nonzero().tolist()}


def test_the_start_is_scored_for_every_seed():
    (column,) = make("sstoken").needs.columns
    assert (column.path(0, 7), column.path(3, 7)) == ("artifacts/scores/start/s0", "artifacts/scores/start/s3")


def test_a_share_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="keep_frac"):
        make("sstoken", keep_frac=0.0)
