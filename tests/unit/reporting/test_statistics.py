"""Pooling and paired differences against hand-worked numbers and invariances."""

import numpy as np
import pytest

from wmtp.reporting.inputs import Run, Tasks
from wmtp.reporting.statistics import Difference, compare_runs, pool, seed_interval, task_pass_at_k


def make_run(arm: str, seed: int, correct: list[int], num_samples: int = 10) -> Run:
    count = len(correct)
    tasks = Tasks(
        task_ids=tuple(f"t{i}" for i in range(count)),
        difficulty=np.ones(count, dtype=int),
        num_samples=np.full(count, num_samples),
        num_correct=np.array(correct),
        greedy_correct=np.array(correct) > num_samples // 2,
    )
    return Run(f"{arm}-s{seed}", arm, seed, {}, tasks, {}, [], [])


def at_1(tasks: Tasks) -> np.ndarray:
    return task_pass_at_k(tasks, 1)


def test_task_pass_at_k_by_hand():
    tasks = make_run("a", 0, [0, 1, 2, 4], num_samples=4).tasks
    assert task_pass_at_k(tasks, 1) == pytest.approx([0, 0.25, 0.5, 1])
    assert task_pass_at_k(tasks, 2) == pytest.approx([0, 0.5, 1 - 1 / 6, 1])


def test_seed_interval_by_hand():
    # mean 0.2, sample standard deviation 0.1, t(2, 0.975) = 4.302653
    low, high = seed_interval(np.array([0.1, 0.2, 0.3]))
    assert (low, high) == pytest.approx((0.2 - 4.302653 * 0.1 / 3**0.5, 0.2 + 4.302653 * 0.1 / 3**0.5), rel=1e-6)
    assert seed_interval(np.array([0.4])) == (None, None)


def test_pool_reports_the_seeds_apart():
    pooled = pool(np.array([[0.0, 1.0], [0.5, 1.0]]), num_bootstrap=200)
    assert pooled.mean == pytest.approx(0.625)
    assert (pooled.seed_min, pooled.seed_max, pooled.num_seeds) == (0.5, 0.75, 2)
    assert 0.25 <= pooled.low <= pooled.mean <= pooled.high <= 1


def test_identical_runs_differ_by_exactly_nothing():
    runs = [make_run("a", seed, [1, 5, 9, 3]) for seed in (0, 1)]
    found = compare_runs(runs, [make_run("b", seed, [1, 5, 9, 3]) for seed in (0, 1)], at_1, 100)
    assert found is not None
    assert (found.mean, found.low, found.high, found.seed_low, found.seed_high) == (0, 0, 0, 0, 0)
    assert found.verdict == "unclear"


def test_difference_changes_sign_with_the_order():
    a, b = [make_run("a", 0, [9, 8, 7, 9, 6])], [make_run("b", 0, [1, 2, 4, 3, 1])]
    there, back = compare_runs(a, b, at_1, 500), compare_runs(b, a, at_1, 500)
    assert there is not None and back is not None
    assert there.mean == pytest.approx(-back.mean) == pytest.approx(0.56)
    assert (there.verdict, back.verdict) == ("better", "worse")


def test_only_common_seeds_are_compared():
    arm = [make_run("a", 0, [9, 9]), make_run("a", 7, [0, 0])]
    found = compare_runs(arm, [make_run("b", 0, [1, 1]), make_run("b", 1, [9, 9])], at_1, 100)
    assert found is not None and found.num_seeds == 1 and found.mean == pytest.approx(0.8)
    assert compare_runs(arm, [make_run("b", 3, [1, 1])], at_1, 100) is None


@pytest.mark.parametrize(
    ("tasks_interval", "seeds_interval", "verdict"),
    [
        ((0.1, 0.3), (None, None), "better"),
        ((0.1, 0.3), (0.05, 0.4), "better"),
        ((0.1, 0.3), (-0.1, 0.5), "unclear"),
        ((-0.1, 0.3), (0.05, 0.4), "unclear"),
        ((-0.3, -0.1), (-0.4, -0.05), "worse"),
        ((0.0, 0.3), (None, None), "unclear"),
    ],
)
def test_a_verdict_needs_both_intervals(tasks_interval, seeds_interval, verdict):
    assert Difference(0.2, *tasks_interval, *seeds_interval, num_seeds=3, num_tasks=10).verdict == verdict
