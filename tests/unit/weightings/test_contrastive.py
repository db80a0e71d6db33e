"""The contrast of two models, token by token."""

import math

import pytest

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.errors import ConfigError
from wmtp.weightings.base import target_weights


@pytest.mark.parametrize("beta", [1.0, 0.2])
def test_a_tokens_weight_is_the_clipped_ratio_of_its_probabilities(beta):
    inputs = make_inputs(columns=("reference_nll", "wrong_nll"))
    weights = target_weights(make("contrastive", beta=beta, clip_min=0.5, clip_max=1.5), inputs)
    seen = set()
    for b, t, h in inputs.valid_BTH.nonzero().tolist():
        right, wrong = (math.exp(-inputs.columns[name][b, t + 1 + h].item()) for name in ("reference_nll", "wrong_nll"))
        expected = min(1.5, max(0.5, (right / wrong) ** (1 / beta)))
        assert weights[b, t, h].item() == pytest.approx(expected, rel=1e-5)
        seen.add(expected in (0.5, 1.5))
    assert seen == {True, False}


@pytest.mark.parametrize("bad", [{"beta": 0.0}, {"clip_min": 4.0}, {"clip_min": -1.0}])
def test_bad_keys_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        make("contrastive", **bad)
