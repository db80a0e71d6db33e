"""Selection against a plain sort."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wmtp.objectives.selection import excess_scores, num_to_keep, select_top


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


def test_excess_scores_by_hand():
    nll, reference = torch.tensor([[[3.0], [1.0]]]), torch.tensor([[[1.0], [2.0]]])
    assert excess_scores(nll, reference, "signed").flatten().tolist() == [2, -1]
    assert excess_scores(nll, reference, "absolute").flatten().tolist() == [2, 1]
    assert excess_scores(nll, reference, "difficult").flatten().tolist() == [1, 2]
    with pytest.raises(ValueError, match="mode"):
        excess_scores(nll, reference, "other")


@pytest.mark.parametrize("keep", [0.0, 1.1, -0.5])
def test_a_fraction_out_of_range_is_refused(keep):
    scores = torch.rand(1, 2, 1)
    with pytest.raises(ValueError, match="keep_frac"):
        select_top(scores, scores > 0, torch.arange(2).view(1, 2), keep, lambda x: x)


def test_nan_scores_are_kept_last():
    scores = torch.tensor([[torch.nan, 1.0, torch.nan, 2.0]]).unsqueeze(-1)
    valid, positions = torch.ones_like(scores, dtype=torch.bool), torch.arange(4).view(1, 4)
    assert select_top(scores, valid, positions, 0.5, lambda x: x).flatten().tolist() == [0, 1, 0, 1]
    assert select_top(scores, valid, positions, 0.75, lambda x: x).flatten().tolist() == [1, 1, 0, 1]


def test_the_number_kept_is_the_ceiling_without_rounding_noise():
    assert [num_to_keep(0.6, n) for n in (0, 1, 5, 6)] == [0, 1, 3, 4]
