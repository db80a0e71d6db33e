"""Selection times weight, whichever way the weight is aligned."""

import pytest

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.weightings.base import target_weights


@pytest.mark.parametrize("alignment", ["target", "source"])
def test_what_rho1_keeps_weighs_what_verifiable_says(alignment):
    inputs = make_inputs(alignment=alignment)
    weights, kept = target_weights(make("hybrid"), inputs), target_weights(make("rho1"), inputs)
    by_position = make("verifiable").weights(inputs)
    for b, t, h in inputs.valid_BTH.nonzero().tolist():
        place = t + 1 + h if alignment == "target" else t
        assert weights[b, t, h] == kept[b, t, h] * by_position[b, place]
