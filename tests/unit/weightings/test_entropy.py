"""Selection by entropy."""

import math

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.weightings.base import target_weights


def test_the_targets_with_the_largest_entropy_are_kept():
    inputs = make_inputs()
    weights = target_weights(make("entropy"), inputs)
    for h in range(3):
        valid = inputs.valid_BTH[..., h].nonzero().tolist()
        ranked = sorted(valid, key=lambda place: -inputs.entropy_BTH[place[0], place[1], h].item())
        kept = {tuple(place) for place in ranked[: math.ceil(0.6 * len(valid))]}
        assert kept == {tuple(place) for place in weights[..., h].nonzero().tolist()}
