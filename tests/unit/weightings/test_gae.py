"""Advantages token by token, summed from their definition."""

import math
import statistics

import pytest
import torch

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.errors import ConfigError
from wmtp.weightings.base import target_weights


def advantages(inputs, b, gamma, lam):
    """{t: sum over k of (gamma lambda)^k delta_{t+k}} of row b's response tokens."""
    value, reward = inputs.columns["value"][b].tolist(), inputs.is_correct_B[b].item()
    tokens = range(int(inputs.prompt_lens_B[b]), int(inputs.lengths_B[b]))
    delta = {t: (reward if t == tokens[-1] else gamma * value[t]) - value[t - 1] for t in tokens}
    return {t: sum((gamma * lam) ** (s - t) * delta[s] for s in tokens if s >= t) for t in tokens}


def lambdas(inputs, lam, alpha):
    lengths = (inputs.lengths_B - inputs.prompt_lens_B).tolist()
    return [lam if alpha is None else max(0.0, 1 - 1 / (alpha * length)) for length in lengths]


@pytest.mark.parametrize(("lam", "alpha"), [(0.95, None), (0.5, None), (1.0, None), (None, 0.5), (None, 0.2)])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_a_tokens_weight_is_the_clipped_exponential_of_its_whitened_advantage(lam, alpha, gamma):
    weighting, inputs = make("gae", lam=lam, alpha=alpha, gamma=gamma), make_inputs()
    measured = weighting.measure([make_inputs(rows=[0, 1]), make_inputs(rows=[2, 3])])
    by_row = [advantages(inputs, b, gamma, one) for b, one in enumerate(lambdas(inputs, lam, alpha))]
    everything = [value for row in by_row for value in row.values()]
    mean, std = statistics.fmean(everything), statistics.pstdev(everything)
    assert (measured.mean, measured.std) == (pytest.approx(mean, abs=1e-7), pytest.approx(std))
    weights = target_weights(weighting, make_inputs(statistics=measured))
    for b, t, h in inputs.valid_BTH.nonzero().tolist():
        expected = min(3.0, max(0.1, math.exp((by_row[b][t + 1 + h] - mean) / std / 0.9)))
        assert weights[b, t, h].item() == pytest.approx(expected, rel=1e-5)


def test_lambda_0_is_verifiable_and_so_is_the_adaptive_one_on_short_responses():
    inputs = make_inputs()
    expected = make("verifiable").weights(inputs)
    assert torch.equal(make("gae", lam=0.0).weights(inputs), expected)
    assert torch.equal(make("gae", lam=None, alpha=0.1).weights(inputs), expected)


def test_lambda_1_is_the_reward_minus_the_value_before_the_token():
    inputs = make_inputs()
    errors = make("gae", lam=1.0).errors(inputs)
    for b in range(4):
        for t in range(int(inputs.prompt_lens_B[b]), int(inputs.lengths_B[b])):
            expected = inputs.is_correct_B[b].item() - inputs.columns["value"][b, t - 1].item()
            assert errors[b, t].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("bad", "key"),
    [
        ({"lam": 1.5}, "lam"),
        ({"lam": None, "alpha": 0.0}, "alpha"),
        ({"alpha": 0.05}, "alpha"),
        ({"lam": None}, "alpha"),
        ({"beta": 0.0}, "beta"),
    ],
)
def test_bad_keys_are_refused(bad, key):
    with pytest.raises(ConfigError, match=key):
        make("gae", **bad)
