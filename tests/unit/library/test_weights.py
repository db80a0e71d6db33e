"""The weights of given texts, against the definitions written out over Python lists."""

import math

import numpy as np
import pytest
import torch

import wmtp
from tests.unit.library.conftest import EXAMPLES
from wmtp.errors import ConfigError, NumericsError
from wmtp.weightings.dft import Dft

RHO1 = {"weighting": {"name": "rho1", "keep_frac": 0.5}}


def targets(frame, head):
    """Places of a head's targets: response tokens that have so many before them."""
    return [t for t in range(head + 1, len(frame)) if not frame["is_prompt"][t]]


def test_rho1_selects_the_tokens_of_largest_excess(folders):
    policy, reference = wmtp.load_model(folders / "policy"), wmtp.load_model(folders / "reference")
    weights = wmtp.token_weights(RHO1, EXAMPLES, policy=policy, scores={"reference_nll": reference})
    ours, theirs = policy.nll(EXAMPLES), reference.nll(EXAMPLES)
    for h in range(3):
        scores = {}
        for e, frame in enumerate(ours):
            for t in targets(frame, h):
                scores[e, t] = frame[f"nll_head{h}"][t] - theirs[e]["nll_head0"].fillna(0.0)[t]
        kept = sorted(scores, key=scores.get)[-math.ceil(0.5 * len(scores)) :]
        for e, frame in enumerate(weights):
            column = frame[f"weight_head{h}"]
            assert [t for t in range(len(frame)) if not np.isnan(column[t])] == targets(frame, h)
            for t in targets(frame, h):
                assert column[t] == pytest.approx(len(scores) / len(kept) if (e, t) in kept else 0.0)


def test_verifiable_weighs_by_what_each_token_changed_in_the_critics_estimate(folders):
    policy, reference = wmtp.load_model(folders / "policy"), wmtp.load_model(folders / "reference")
    critic = wmtp.load_critic(folders / "critic")
    scores = {"reference_nll": reference, "value": critic}
    arm = {"weighting": {"name": "verifiable", "beta": 0.9}, "normalise": "none"}
    examples = EXAMPLES[:2]
    weights = wmtp.token_weights(arm, examples, policy=policy, scores=scores)
    errors = {}
    for e, frame in enumerate(critic.values(examples, reference)):
        values, last = frame["value"].tolist(), len(frame) - 1
        for t in targets(frame, 0):
            after = float(examples[e].is_correct) if t == last else values[t]
            errors[e, t] = after - values[t - 1]
    mean = sum(errors.values()) / len(errors)
    spread = math.sqrt(sum((x - mean) ** 2 for x in errors.values()) / len(errors))
    for (e, t), error in errors.items():
        expected = min(3.0, max(0.1, math.exp((error - mean) / spread / 0.9)))
        assert weights[e]["weight_head0"][t] == pytest.approx(expected, rel=1e-3)


def test_a_weighting_that_needs_nothing_gives_ones(folders):
    policy = wmtp.load_model(folders / "policy")
    (frame,) = wmtp.token_weights({"weighting": {"name": "uniform"}, "n_future": 1}, EXAMPLES[:1], policy=policy)
    assert "weight_head1" not in frame and set(frame["weight_head0"].dropna()) == {1.0}


def test_what_is_missing_or_does_not_fit_is_said(folders, tmp_path):
    policy = wmtp.load_model(folders / "policy")
    with pytest.raises(ValueError, match="rho1 needs reference_nll"):
        wmtp.token_weights(RHO1, EXAMPLES, policy=policy)
    with pytest.raises(ConfigError, match="keep_frac"):
        wmtp.token_weights({"weighting": {"name": "rho1", "keep_frac": 2}}, EXAMPLES, policy=policy)


@pytest.mark.parametrize(("weight", "said"), [(-1.0, "negative"), (0.0, "all zero"), (math.inf, "infinite"), (math.nan, "NaN")])
def test_weights_that_no_run_goes_on_with_are_refused_too(folders, monkeypatch, weight, said):
    policy = wmtp.load_model(folders / "policy")
    monkeypatch.setattr(Dft, "weights", lambda self, inputs: torch.full_like(inputs.nll, weight))
    with pytest.raises(NumericsError, match=f"^the weights of dft are {said}$"):
        wmtp.token_weights({"weighting": {"name": "dft"}, "normalise": "none"}, EXAMPLES, policy=policy)
