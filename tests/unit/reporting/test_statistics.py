"""Pooling and paired differences against hand-worked numbers and invariances."""

import numpy as np
import pytest

from wmtp.reporting.inputs import Run, Tasks
from wmtp.reporting.statistics import Difference, compare_family, pool, seed_interval, task_pass_at_k


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
    assert 0 <= pooled.low <= pooled.mean <= pooled.high <= 1


def compare_runs(arm, other, score, num_bootstrap):
    (found,) = compare_family([(arm, other)], score, num_bootstrap)
    return found


def test_identical_runs_differ_by_exactly_nothing():
    runs = [make_run("a", seed, [1, 5, 9, 3]) for seed in (0, 1)]
    found = compare_runs(runs, [make_run("b", seed, [1, 5, 9, 3]) for seed in (0, 1)], at_1, 100)
    assert found is not None
    assert (found.mean, found.seed_low, found.seed_high) == (0, 0, 0)
    assert found.low < 0 < found.high, "four tasks on which they agree say little of others"
    assert found.verdict == "unclear"


def test_difference_changes_sign_with_the_order():
    a = [make_run("a", seed, [9, 8, 7, 9, 6 - seed] * 10) for seed in (0, 1)]
    b = [make_run("b", seed, [1, 2, 4, 3, 1] * 10) for seed in (0, 1)]
    there, back = compare_runs(a, b, at_1, 500), compare_runs(b, a, at_1, 500)
    assert there is not None and back is not None
    assert there.mean == pytest.approx(-back.mean) == pytest.approx(0.55)
    assert (there.verdict, back.verdict) == ("better", "worse")


def test_one_pair_of_runs_decides_nothing():
    found = compare_runs([make_run("a", 0, [9] * 30)], [make_run("b", 0, [0] * 30)], at_1, 100)
    assert found is not None and found.low > 0 and found.verdict == "single"


def test_several_comparisons_are_judged_together():
    """By hand: three arms and their baseline, two seeds each, all of variance 0.02 between seeds and the same differences: 4
    degrees of freedom, and t(4, 1 - 0.05 / 6) = 3.9608 at the level of three comparisons."""
    base = [make_run("base", seed, [4 + 2 * seed] * 4) for seed in (0, 1)]
    arms = [[make_run(f"arm{i}", seed, [7 + 2 * seed] * 4) for seed in (0, 1)] for i in range(3)]
    together = compare_family([(arm, base) for arm in arms], at_1, 500)
    for arm, found in zip(arms, together, strict=True):
        alone = compare_runs(arm, base, at_1, 500)
        assert found is not None and alone is not None and alone.joint_low is None
        assert (found.low, found.high, found.seed_low) == (alone.low, alone.high, alone.seed_low)
        assert (found.joint_seed_high - found.joint_seed_low) / 2 == pytest.approx(3.9608 * 0.02**0.5, rel=1e-4)
        assert (found.joint_seed_low + found.joint_seed_high) / 2 == pytest.approx(found.mean) == pytest.approx(0.3)


def test_who_spreads_more_than_others_is_held_by_its_own_variance_as_a_comparison_alone_is():
    """By hand: differences of 0.1, 0.2 and 0.3, t(2, 0.99) = 6.964557, wider than what is pooled with arms that do not vary."""
    base = [make_run("base", seed, [1] * 4) for seed in range(3)]
    arm = [make_run("arm", seed, [2 + seed] * 4) for seed in range(3)]
    steady = [[make_run(f"steady{i}", seed, [2] * 4) for seed in range(3)] for i in range(4)]
    found, *_ = compare_family([(one, base) for one in (arm, *steady)], at_1, 100)
    alone = compare_runs(arm, base, at_1, 100)
    half = 6.964557 * 0.1 / 3**0.5
    for one in (found, alone):
        assert (one.joint_seed_low, one.joint_seed_high) == pytest.approx((0.2 - half, 0.2 + half), rel=1e-6)
    assert found.joint_low is not None and alone.verdict == "unclear"


def test_an_arm_that_fails_now_and_then_is_rarely_said_to_beat_a_steady_baseline():
    """2,000 reports of a steady baseline and an arm of the same mean that fails badly at times, three seeds each."""
    rng = np.random.default_rng(0)
    plain = claims = 0
    for _ in range(2000):
        luck = {"base": rng.normal(0, 0.04, 3), "arm": 0.16 * (1 - rng.exponential(1, 3))}
        runs = {
            arm: [make_run(arm, seed, [round(10_000 * (0.5 + one))] * 12, 10_000) for seed, one in enumerate(luck_S.clip(-0.5))]
            for arm, luck_S in luck.items()
        }
        found = compare_runs(runs["arm"], runs["base"], at_1, 2)
        plain += found.seed_low > 0 or found.seed_high < 0
        claims += found.verdict != "unclear"
    assert claims <= 0.06 * 2000 < plain


def test_no_report_of_equal_arms_claims_more_often_than_wanted():
    """1,000 reports of five arms that are their baseline's equals, three seeds each: at most 6 % may claim something."""
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(1000):
        arms = [
            [
                make_run(str(arm), seed, (10 * np.clip(rng.random() + np.linspace(0, 0.4, 8), 0, 1)).astype(int))
                for seed in range(3)
            ]
            for arm in range(6)
        ]
        found = compare_family([(arm, arms[0]) for arm in arms[1:]], at_1, 50)
        claims += any(each is not None and each.verdict != "unclear" for each in found)
    assert claims <= 60


def test_pairs_without_a_common_seed_leave_the_others_alone():
    base, arm = ([make_run(name, seed, [seed, 5, 9]) for seed in (0, 1)] for name in ("base", "arm"))
    stranger = [make_run("stranger", 7, [1, 1, 1])]
    nothing, found = compare_family([(stranger, base), (arm, base)], at_1, 100)
    assert nothing is None and found == compare_runs(arm, base, at_1, 100)


def test_only_common_seeds_are_compared():
    arm = [make_run("a", 0, [9, 9]), make_run("a", 7, [0, 0])]
    found = compare_runs(arm, [make_run("b", 0, [1, 1]), make_run("b", 1, [9, 9])], at_1, 100)
    assert found is not None and found.num_seeds == 1 and found.mean == pytest.approx(0.8)
    assert compare_runs(arm, [make_run("b", 3, [1, 1])], at_1, 100) is None


@pytest.mark.parametrize(
    ("tasks_interval", "seeds_interval", "verdict"),
    [
        ((0.1, 0.3), (None, None), "single"),
        ((0.1, 0.3), (0.05, 0.4), "better"),
        ((0.1, 0.3), (-0.1, 0.5), "unclear"),
        ((-0.1, 0.3), (0.05, 0.4), "unclear"),
        ((-0.3, -0.1), (-0.4, -0.05), "worse"),
        ((0.0, 0.3), (0.1, 0.3), "unclear"),
    ],
)
def test_a_verdict_needs_both_intervals(tasks_interval, seeds_interval, verdict):
    assert Difference(0.2, *tasks_interval, *seeds_interval, num_seeds=3, num_tasks=10).verdict == verdict


@pytest.mark.parametrize(
    ("joint", "verdict"),
    [((0.05, 0.35, 0.01, 0.5), "better"), ((-0.01, 0.4, 0.01, 0.5), "unclear"), ((0.05, 0.35, -0.1, 0.6), "unclear")],
)
def test_a_verdict_needs_the_joint_intervals_too(joint, verdict):
    assert Difference(0.2, 0.1, 0.3, 0.05, 0.4, 3, 10, *joint).verdict == verdict


@pytest.mark.parametrize("seeds", [1, 4])
def test_a_detectable_difference_is_found_in_four_of_five_repetitions(seeds):
    """Two arms, 200 tasks, normal spreads of tasks and of seeds; found is what is called better, of one seed
    what the interval over tasks says is above zero."""
    generator = np.random.default_rng(0)

    def repetition(effect):
        by_task = generator.normal(0.4, 0.2, 200)
        runs = []
        for arm, shift in (("a", effect), ("b", 0.0)):
            for seed in range(seeds):
                level = by_task + shift + generator.normal(0, 0.03) + generator.normal(0, 0.15, 200)
                runs.append(make_run(arm, seed, np.clip(np.rint(10_000 * level), 0, 10_000).astype(int), num_samples=10_000))
        found = compare_runs(runs[:seeds], runs[seeds:], at_1, 200)
        assert found is not None
        return found

    effect = float(np.mean([repetition(0.0).detectable ** 2 for _ in range(60)]) ** 0.5)  # variances are what is unbiased
    shown = [repetition(effect) for _ in range(150)]
    power = np.mean([found.verdict == "better" or (seeds == 1 and found.low > 0) for found in shown])
    if seeds > 1:
        assert 0.65 <= power <= 0.95
    else:  # of the choice of tasks alone: runs vary besides, so it is found less often than that
        assert 0.5 <= power <= 0.9
