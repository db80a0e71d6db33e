"""Arms: returns, TD errors, selections and the invariances that make arms comparable."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wmtp.config import ArmConfig, weighting
from wmtp.config.weightings import WEIGHTINGS
from wmtp.objectives import (
    ARMS,
    WeightInputs,
    compute_weights,
    guess_weights,
    heads_first,
    lambda_returns,
    shift_labels,
    target_scale,
    td_errors,
)
from wmtp.objectives.returns import discounted_suffix_sum
from wmtp.objectives.selection import hashed_uniform, rho1_scores, select_top
from wmtp.objectives.td import TDStatistics, shuffle_response, td_weights
from wmtp.types import IGNORE_INDEX


def make_inputs(seed=0, batch=4, length=9, heads=3, rows=None, gather=lambda x: x, **changes):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(20, (batch, length), generator=generator)
    prompt = torch.randint(1, 3, (batch,), generator=generator)
    lengths = torch.randint(4, length + 1, (batch,), generator=generator)
    position = torch.arange(length)
    labels = tokens.masked_fill((position < prompt[:, None]) | (position >= lengths[:, None]), IGNORE_INDEX)
    labels_BTH = shift_labels(labels, heads)
    fields = {
        "labels_BTH": labels_BTH,
        "rows_B": torch.arange(batch) + 100,
        "slots_B": torch.arange(batch),
        "prompt_lens_B": prompt,
        "lengths_B": lengths,
        "is_correct_B": torch.randint(2, (batch,), generator=generator).float(),
        "reference_nll_BT": torch.rand(batch, length, generator=generator),
        "value_BT": torch.rand(batch, length, generator=generator),
        "nll_BTH": torch.rand(labels_BTH.shape, generator=generator),
        "entropy_BTH": torch.rand(labels_BTH.shape, generator=generator),
    } | changes
    if rows is not None:
        fields = {k: v[rows] for k, v in fields.items()}
    return WeightInputs(**fields, seed=7, step=3, gather=gather, td_statistics=TDStatistics(0.1, 0.5))


def keys_of(name):
    return weighting(ArmConfig(weighting={"name": name}))


def test_every_configured_weighting_has_a_function():
    assert set(ARMS) == set(WEIGHTINGS)


@pytest.mark.parametrize("name", sorted(ARMS))
def test_weights_are_finite_non_negative_and_zero_where_ignored(name):
    inputs = make_inputs()
    weights = compute_weights(name, keys_of(name), inputs, "target")
    if name == "uniform":
        assert weights is None
    else:
        assert weights.shape == inputs.labels_BTH.shape and torch.isfinite(weights).all() and (weights >= 0).all()
        assert (weights[~inputs.valid_BTH] == 0).all() and weights.sum() > 0 and not weights.requires_grad


@pytest.mark.parametrize("name", ["rho1", "random", "entropy"])
def test_selection_size_is_exact_per_head_of_the_global_batch(name):
    inputs = make_inputs()
    weights = compute_weights(name, keys_of(name), inputs, "target")
    for head in range(3):
        valid = int(inputs.valid_BTH[..., head].sum())
        assert int(weights[..., head].sum()) == math.ceil(0.6 * valid)


@pytest.mark.parametrize("name", sorted(set(ARMS) - {"uniform"}))
def test_weights_do_not_depend_on_how_the_batch_is_dealt_out(name):
    """Two ranks, with the gather played back from the whole batch's values in rank order."""
    whole = make_inputs()
    expected = compute_weights(name, keys_of(name), whole, "target")
    ranks = [torch.tensor([0, 2]), torch.tensor([1, 3])]
    calls = [[], []]
    for rank, rows in enumerate(ranks):
        compute_weights(name, keys_of(name), make_inputs(rows=rows, gather=lambda x, r=rank: calls[r].append(x) or x), "target")
    for rows in ranks:
        turn = iter(range(10**6))

        def gather(_, turn=turn):
            return torch.cat([calls[0][i := next(turn)], calls[1][i]])

        # the values gathered must be the same in the second pass, so this plays back exactly what ranks exchange
        weights = compute_weights(name, keys_of(name), make_inputs(rows=rows, gather=gather), "target")
        torch.testing.assert_close(weights, expected[rows])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), levels=st.integers(1, 4), keep=st.floats(0.05, 1.0))
def test_select_top_matches_a_sort_with_ties_by_position(seed, levels, keep):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (3, 6, 1), generator=generator).float()
    valid = torch.rand(3, 6, 1, generator=generator) < 0.7
    positions = torch.arange(18).view(3, 6)
    kept = select_top(scores, valid, positions, keep, lambda x: x).flatten()
    order = sorted((i for i in range(18) if valid.flatten()[i]), key=lambda i: (-scores.flatten()[i].item(), i))
    expected = torch.zeros(18)
    expected[order[: math.ceil(keep * len(order) - 1e-9)]] = 1
    assert torch.equal(kept, expected)


@pytest.mark.parametrize("reduction", ["head_mean", "position_mean"])
@pytest.mark.parametrize("normalise", ["mean_one", "none"])
@pytest.mark.parametrize("more", [{}, {"mode": "absolute"}, {"mode": "difficult"}, {"always_keep_head0": True}])
def test_rho1_is_guessed_while_the_nlls_come_in(reduction, normalise, more):
    """Nearly all that is selected is guessed, and its gradient is the loss's up to one factor."""
    inputs = make_inputs(batch=64, length=60)
    keys = weighting(ArmConfig(weighting={"name": "rho1"} | more))
    counts_H = inputs.valid_BTH.sum(dim=(0, 1)).double()
    guess = guess_weights("rho1", keys, inputs, counts_H, reduction=reduction, normalise=normalise)
    nll_N, valid = heads_first(inputs.nll_BTH), heads_first(inputs.valid_BTH).nonzero().squeeze(1)
    guessed_N = torch.zeros_like(nll_N)
    for chunk in (valid[i::9] for i in range(9)):
        guessed_N[chunk] = guess(chunk, nll_N[chunk])
    weights = compute_weights("rho1", keys, inputs, "target")
    scale_N = heads_first(target_scale(inputs.labels_BTH, weights, reduction=reduction, normalise=normalise)).float()
    right_N = (guessed_N != 0) & (scale_N != 0)
    assert right_N.sum() > 0.92 * (scale_N != 0).sum() and right_N.sum() > 0.98 * (guessed_N != 0).sum()
    factors = scale_N[right_N] / guessed_N[right_N]
    torch.testing.assert_close(factors, factors[:1].expand_as(factors), rtol=1e-6, atol=0)


def test_only_a_plain_selection_by_the_loss_is_guessed():
    inputs, counts_H = make_inputs(), torch.ones(3)
    options = {"reduction": "head_mean", "normalise": "mean_one"}
    guessed = {name for name in ARMS if guess_weights(name, keys_of(name), inputs, counts_H, **options) is not None}
    assert guessed == {"rho1"}


def test_rho1_scores_by_hand():
    nll, reference = torch.tensor([[[3.0], [1.0]]]), torch.tensor([[[1.0], [2.0]]])
    assert rho1_scores(nll, reference, "signed").flatten().tolist() == [2, -1]
    assert rho1_scores(nll, reference, "absolute").flatten().tolist() == [2, 1]
    assert rho1_scores(nll, reference, "difficult").flatten().tolist() == [1, 2]
    with pytest.raises(ValueError, match="mode"):
        rho1_scores(nll, reference, "other")


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
        inputs.value_BT, inputs.is_correct_B, inputs.prompt_lens_B, inputs.lengths_B, gamma=gamma, initial_value=initial
    )
    for b in range(4):
        row = (
            inputs.value_BT[b].tolist(),
            inputs.is_correct_B[b].item(),
            int(inputs.prompt_lens_B[b]),
            int(inputs.lengths_B[b]),
        )
        torch.testing.assert_close(deltas[b], torch.tensor(naive_td(*row, gamma, initial)))


def test_td_errors_telescope_to_reward_minus_prompt_value():
    inputs = make_inputs(6)
    deltas = td_errors(inputs.value_BT, inputs.is_correct_B, inputs.prompt_lens_B, inputs.lengths_B)
    start = inputs.value_BT[torch.arange(4), inputs.prompt_lens_B - 1]
    torch.testing.assert_close(deltas.sum(dim=1), inputs.is_correct_B - start)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.95, 0.9), (1.0, 0.0)])
def test_lambda_returns_match_a_backward_loop(gamma, lam):
    inputs = make_inputs(8)
    targets, mask = lambda_returns(
        inputs.value_BT, inputs.is_correct_B, inputs.prompt_lens_B, inputs.lengths_B, gamma=gamma, lam=lam
    )
    for b in range(4):
        values, reward = inputs.value_BT[b].double().tolist(), inputs.is_correct_B[b].item()
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


def test_td_weights_by_hand_and_statistics_must_spread():
    weights = td_weights(torch.tensor([[0.1, 0.6, -9.0, 9.0]]), TDStatistics(0.1, 0.5), beta=1.0, clip_min=0.1, clip_max=3.0)
    torch.testing.assert_close(weights, torch.tensor([[1.0, math.e, 0.1, 3.0]]))
    with pytest.raises(ValueError, match="standard deviation"):
        TDStatistics(0.0, 0.0)


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


def test_hashed_uniform_is_uniform_and_depends_on_every_key():
    x = hashed_uniform(3, torch.arange(20000))
    assert x.min() >= 0 and x.max() < 1 and abs(x.mean() - 0.5) < 0.01 and abs(x.var() - 1 / 12) < 0.003
    assert not torch.equal(x, hashed_uniform(4, torch.arange(20000)))
