"""TD errors, lambda-returns and the scan against plain loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.weightings.inputs import make_inputs
from wmtp.objectives.returns import discounted_suffix_sum, lambda_returns, td_errors


def naive_td(values, reward, prompt, length, gamma, initial):
    deltas = [0.0] * len(values)
    for t in range(prompt, length):
        before = 0.5 if initial == "half" and t == prompt else values[t - 1]
        deltas[t] = (reward if t == length - 1 else gamma * values[t]) - before
    return deltas


@pytest.mark.parametrize("initial", ["prompt", "half"])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_td_errors_match_a_loop(initial, gamma):
    inputs = make_inputs(5)
    deltas = td_errors(
        inputs.columns["value"], inputs.is_correct_B, inputs.prompt_lens_B, inputs.lengths_B, gamma=gamma, initial_value=initial
    )
    for b in range(4):
        row = (
            inputs.columns["value"][b].tolist(),
            inputs.is_correct_B[b].item(),
            int(inputs.prompt_lens_B[b]),
            int(inputs.lengths_B[b]),
        )
        torch.testing.assert_close(deltas[b], torch.tensor(naive_td(*row, gamma, initial)))


def test_td_errors_telescope_to_reward_minus_prompt_value():
    inputs = make_inputs(6)
    deltas = td_errors(inputs.columns["value"], inputs.is_correct_B, inputs.prompt_lens_B, inputs.lengths_B)
    start = inputs.columns["value"][torch.arange(4), inputs.prompt_lens_B - 1]
    torch.testing.assert_close(deltas.sum(dim=1), inputs.is_correct_B - start)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.95, 0.9), (1.0, 0.0)])
def test_lambda_returns_match_a_backward_loop(gamma, lam):
    inputs = make_inputs(8)
    targets, mask = lambda_returns(
        inputs.columns["value"], inputs.is_correct_B, inputs.prompt_lens_B, inputs.lengths_B, gamma=gamma, lam=lam
    )
    for b in range(4):
        values, reward = inputs.columns["value"][b].double().tolist(), inputs.is_correct_B[b].item()
        prompt, length = int(inputs.prompt_lens_B[b]), int(inputs.lengths_B[b])
        expected, advantage = {length - 1: reward}, 0.0
        for i in range(length - 2, prompt - 2, -1):
            delta = (reward if i + 1 == length - 1 else gamma * values[i + 1]) - values[i]
            advantage = delta + gamma * lam * (advantage if i + 1 < length - 1 else 0.0)
            expected[i] = values[i] + advantage
        assert mask[b].nonzero().flatten().tolist() == sorted(expected)
        for i, value in expected.items():
            assert targets[b, i].item() == pytest.approx(value, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 70), seed=st.integers(0, 999))
def test_suffix_sum_matches_the_loop(length, seed):
    generator = torch.Generator().manual_seed(seed)
    deltas, coefs = torch.randn(2, length, generator=generator), torch.rand(2, length, generator=generator)
    expected, last = torch.zeros(2, length, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for t in range(length - 1, -1, -1):
        last = deltas[:, t].double() + coefs[:, t].double() * last
        expected[:, t] = last
    torch.testing.assert_close(discounted_suffix_sum(deltas, coefs), expected, rtol=1e-12, atol=1e-12)
