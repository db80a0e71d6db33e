from itertools import product

import numpy as np
import pytest

from wmtp.evaluation import compare
from wmtp.evaluation.compare import DIFFERENCE_ENDS, ENDS, bootstrap_mean, joint_intervals


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


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("num_tasks", [10, 150, 1000])
def test_where_all_tasks_agree_the_interval_is_about_as_wide_as_wilsons(num_tasks, share):
    """Wilson 1927 at p = 0 or 1: z^2 / (n + z^2) wide, to the inside."""
    found = bootstrap_mean(np.full(num_tasks, share), ends=ENDS, num_bootstrap=20_000)
    width = 3.8415 / (num_tasks + 3.8415)
    assert (found.low if share == 0 else found.high) == found.mean == share
    assert found.high - found.low == pytest.approx(width, rel=0.35)


@pytest.mark.parametrize(("chance", "num_tasks"), [(0.02, 150), (0.1, 50), (0.5, 150), (0.99, 300)])
def test_intervals_of_shares_hold_as_often_as_they_say(chance, num_tasks):
    rng = np.random.default_rng(1)
    held = [
        found.low <= chance <= found.high
        for solved in rng.random((1500, num_tasks)) < chance
        for found in [bootstrap_mean(solved.astype(float), ends=ENDS, num_bootstrap=400)]
    ]
    assert 0.93 <= np.mean(held) < 0.99  # what can be held at all: successes are counted


def test_two_that_agree_on_every_task_may_differ_on_others():
    none = np.zeros(150)
    plain = bootstrap_mean(none, ends=DIFFERENCE_ENDS)
    assert plain.mean == 0 and -0.03 < plain.low < -0.01 < 0.01 < plain.high < 0.03
    (joint,) = joint_intervals(none[None], ends=DIFFERENCE_ENDS)
    assert joint == pytest.approx((plain.low, plain.high), rel=0.3)


def test_pairing_sees_what_two_intervals_cannot():
    rng = np.random.default_rng(3)
    hardness = rng.random(100)
    better, worse = np.clip(hardness + 0.05, 0, 1), hardness
    assert bootstrap_mean(worse).high > bootstrap_mean(better).low
    paired = bootstrap_mean(better - worse)
    assert 0.03 < paired.low < paired.mean < paired.high < 0.06


def test_joint_intervals_of_independent_rows_are_as_wide_as_sidaks():
    """Of 5 independent normal means the largest |t| has the quantile of one at level 0.95 ** (1 / 5): 2.569."""
    rows = np.random.default_rng(0).normal(size=(5, 400))
    for (low, high), row in zip(joint_intervals(rows, num_bootstrap=4000), rows, strict=True):
        assert (low + high) / 2 == pytest.approx(row.mean())
        assert (high - low) / 2 == pytest.approx(2.569 * row.std() / 20, rel=0.06)


def test_rows_that_are_the_same_count_once():
    row = np.random.default_rng(1).normal(size=300)
    (alone,) = joint_intervals(row[None], num_bootstrap=2000)
    assert joint_intervals(np.stack([row, row, -row]), num_bootstrap=2000)[0] == pytest.approx(alone)


def test_a_row_without_variation_is_known_exactly_and_widens_nothing():
    row = np.random.default_rng(2).normal(size=50)
    (alone,) = joint_intervals(row[None])
    assert joint_intervals(np.stack([row, np.full(50, 0.3)])) == [pytest.approx(alone), pytest.approx((0.3, 0.3))]


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
