"""Value-at-risk, against its definition."""

import pytest
import torch

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.errors import ConfigError
from wmtp.weightings.base import target_weights


def value_at_risk(scores, alpha):
    """The smallest of the scores that at least a share alpha of them does not exceed."""
    return min(t for t in scores if sum(s <= t for s in scores) >= alpha * len(scores) - 1e-9)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 0.75, 0.999])
@pytest.mark.parametrize("score", ["loss", "entropy"])
def test_targets_at_or_above_the_value_at_risk_are_kept(score, alpha):
    inputs = make_inputs(batch=6)
    scores = inputs.nll_BTH if score == "loss" else inputs.entropy_BTH
    weights = target_weights(make("eslm", score=score, alpha=alpha), inputs)
    for h in range(3):
        places = inputs.valid_BTH[..., h].nonzero().tolist()
        risk = value_at_risk([scores[b, t, h].item() for b, t in places], alpha)
        for b, t in places:
            assert weights[b, t, h].item() == float(scores[b, t, h].item() >= risk)


def test_ties_are_kept():
    inputs = make_inputs(nll_BTH=torch.ones(4, 9, 3))
    assert torch.equal(target_weights(make("eslm"), inputs) > 0, inputs.valid_BTH)


def test_only_what_is_looked_at_is_needed():
    assert (make("eslm").needs.nll, make("eslm").needs.entropy) == (True, False)
    assert (make("eslm", score="entropy").needs.nll, make("eslm", score="entropy").needs.entropy) == (False, True)


@pytest.mark.parametrize("bad", [{"alpha": 0.0}, {"alpha": 1.0}, {"score": "other"}])
def test_bad_keys_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        make("eslm", **bad)
