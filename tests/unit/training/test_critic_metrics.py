"""What the report says of the critic, against loops over pairs and examples that share no code with it."""

import math

import numpy as np
import pytest

from wmtp.training.critic_metrics import critic_metrics


def examples(seed, num=60, num_problems=12):
    """Values with ties (they are rounded), labels that they tell something about, problems of different sizes."""
    generator = np.random.default_rng(seed)
    correct = generator.random(num) < 0.4
    value = np.round(np.clip(0.5 + 0.2 * correct + 0.3 * generator.normal(size=num), 0, 1), 1)
    problems = np.array([f"p{i}" for i in generator.integers(0, num_problems, num)], dtype=object)
    return value, correct, problems


def pairs_won(right, wrong):
    """Share of (right, wrong) pairs in which the right one is above, ties counting a half."""
    won = [1.0 if a > b else 0.5 if a == b else 0.0 for a in right for b in wrong]
    return sum(won) / len(won), len(won)


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values)


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_share_of_pairs_that_are_in_order(seed):
    value, correct, problems = examples(seed)
    surprise = np.random.default_rng(seed + 100).integers(0, 9, len(value)).astype(float)
    found = critic_metrics(value, correct, problems, surprise)
    assert found["auc"] == pytest.approx(pairs_won(value[correct], value[~correct])[0])
    assert found["auc_max_reference_nll"] == pytest.approx(pairs_won(-surprise[correct], -surprise[~correct])[0])


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_within_a_problem(seed):
    value, correct, problems = examples(seed)
    right, wrong = [], []
    won, number = 0.0, 0
    for problem in set(problems):
        right = [value[i] for i in range(len(value)) if problems[i] == problem and correct[i]]
        wrong = [value[i] for i in range(len(value)) if problems[i] == problem and not correct[i]]
        if right and wrong:
            share, count = pairs_won(right, wrong)
            won, number = won + share * count, number + count
    found = critic_metrics(value, correct, problems)
    assert found["num_pairs"] == number
    assert found["pairwise_accuracy"] == pytest.approx(won / number)


@pytest.mark.parametrize("seed", range(5))
def test_brier_and_explained_variance_from_their_definitions(seed):
    value, correct, problems = examples(seed)
    errors = [float(c) - float(v) for v, c in zip(value, correct, strict=True)]
    labels = [float(c) for c in correct]
    found = critic_metrics(value, correct, problems)
    assert found["brier"] == pytest.approx(mean(error**2 for error in errors))
    of_errors = mean((error - mean(errors)) ** 2 for error in errors)
    of_labels = mean((label - mean(labels)) ** 2 for label in labels)
    assert found["explained_variance"] == pytest.approx(1 - of_errors / of_labels)


@pytest.mark.parametrize("seed", range(5))
def test_calibration_is_ten_bins_of_equal_width_and_the_last_one_holds_one(seed):
    generator = np.random.default_rng(seed)
    value = np.concatenate([generator.random(50), [0.0, 1.0]])
    correct = generator.random(52) < value
    bins = [[] for _ in range(10)]
    for v, c in zip(value, correct, strict=True):
        bins[next(b for b in range(10) if v < (b + 1) / 10 or b == 9)].append((v, float(c)))
    expected = 0.0
    for members in bins:
        if members:
            expected += len(members) / 52 * abs(mean(v for v, _ in members) - mean(c for _, c in members))
    found = critic_metrics(value, correct, np.arange(52))
    assert found["ece"] == pytest.approx(expected)
    assert [item["n"] for item in found["calibration"]] == [len(members) for members in bins if members]
    assert found["num_examples"] == sum(item["n"] for item in found["calibration"]) == 52


def test_by_hand():
    found = critic_metrics(np.array([0.9, 0.2, 0.6, 0.6]), np.array([True, False, True, False]), np.array(["a", "a", "b", "b"]))
    assert found["auc"] == pytest.approx(3.5 / 4)
    assert found["pairwise_accuracy"] == pytest.approx(1.5 / 2)
    assert found["brier"] == pytest.approx((0.01 + 0.04 + 0.16 + 0.36) / 4)
    assert found["ece"] == pytest.approx(0.1 / 4 + 0.2 / 4 + 0.1 * 2 / 4)


def test_one_class_alone_has_no_order():
    found = critic_metrics(np.array([0.9, 0.2]), np.array([True, True]), np.array(["a", "a"]), np.array([1.0, 2.0]))
    assert not found.keys() & {"auc", "auc_max_reference_nll", "explained_variance", "pairwise_accuracy", "num_pairs"}
    assert found["brier"] == pytest.approx((0.01 + 0.64) / 2)
