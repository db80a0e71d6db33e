from itertools import product

import numpy as np
import pytest

from wmtp.evaluation import compare
from wmtp.evaluation.compare import bootstrap_mean, paired_difference


def test_resampled_means_follow_the_exact_bootstrap_distribution():
    scores = np.array([0.0, 0.3, 1.0])
    exact = np.array([np.mean(draw) for draw in product(scores, repeat=3)])
    means = compare._resampled_means(scores, 40_000, seed=1)
    for value in np.unique(exact):
        assert np.isclose(means, value).mean() == pytest.approx(np.isclose(exact, value).mean(), abs=0.01)


def test_interval_is_near_the_normal_one_for_many_tasks():
    scores = np.random.default_rng(0).random(400)
    half = 1.96 * scores.std() / 20
    interval = bootstrap_mean(scores, num_bootstrap=4000, seed=0)
    assert interval.mean == pytest.approx(scores.mean())
    assert interval.low == pytest.approx(scores.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(scores.mean() + half, abs=0.1 * half)


def test_pairing_sees_what_two_intervals_cannot():
    rng = np.random.default_rng(3)
    hardness = rng.random(100)
    better, worse = np.clip(hardness + 0.05, 0, 1), hardness
    assert bootstrap_mean(worse).high > bootstrap_mean(better).low
    paired = paired_difference(better, worse)
    assert 0.03 < paired.low < paired.difference < paired.high < 0.06
    assert paired.p_value < 0.01


def test_no_difference_has_no_significance():
    scores = np.random.default_rng(4).random(50)
    same = paired_difference(scores, scores)
    assert (same.low, same.high, same.difference, same.p_value) == (0, 0, 0, 1)


def test_seeded_and_independent_of_block_size(monkeypatch):
    scores = np.random.default_rng(5).random(30)
    first = bootstrap_mean(scores, num_bootstrap=500, seed=7)
    assert first == bootstrap_mean(scores, num_bootstrap=500, seed=7)
    assert first != bootstrap_mean(scores, num_bootstrap=500, seed=8)
    monkeypatch.setattr(compare, "_DRAWN_AT_ONCE", 64)
    assert first == bootstrap_mean(scores, num_bootstrap=500, seed=7)


@pytest.mark.parametrize("scores", [[], [0.5, float("nan")], [[0.5]]])
def test_what_has_no_mean_is_refused(scores):
    with pytest.raises(ValueError, match="scores must be"):
        bootstrap_mean(np.array(scores))


def test_pairs_of_different_tasks_are_refused():
    with pytest.raises(ValueError, match="same tasks"):
        paired_difference(np.zeros(3), np.zeros(4))
