"""Pooled scores and paired differences with two kinds of interval: over tasks and over seeds.

The interval over tasks resamples tasks and holds the trained models fixed: it says how well *these runs* are known. The
interval over seeds (Student's t) says how well the *method* is known; it needs at least two seeds. A claim about a
method needs both.

Suffixes: S seeds, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wmtp.evaluation.compare import LEVEL, bootstrap_mean, paired_difference
from wmtp.evaluation.pass_at_k import task_scores
from wmtp.reporting.inputs import Run, Tasks

_BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Pooled:
    """A score of one arm: the mean over seeds and tasks, its interval over tasks, and the range over seeds."""

    mean: float
    low: float
    high: float
    seed_min: float
    seed_max: float
    num_seeds: int


@dataclass(frozen=True)
class Difference:
    """Arm minus baseline on the same tasks and seeds. `seed_low`/`seed_high` are None with one seed in common."""

    mean: float
    low: float
    high: float
    seed_low: float | None
    seed_high: float | None
    num_seeds: int
    num_tasks: int

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `unclear`; both intervals must exclude zero (with one seed there is only one)."""
        lows = [self.low] + ([] if self.seed_low is None else [self.seed_low])
        highs = [self.high] + ([] if self.seed_high is None else [self.seed_high])
        if min(lows) > 0:
            return "better"
        return "worse" if max(highs) < 0 else "unclear"


def task_pass_at_k(tasks: Tasks, k: int) -> np.ndarray:
    """Unbiased pass@k of every task, (T,).

    Raises:
        ValueError: a task has fewer than k samples.
    """
    return task_scores(tasks.num_samples.tolist(), tasks.num_correct.tolist(), k)


def score_matrix(runs: Sequence[Run], score: Callable[[Tasks], np.ndarray]) -> np.ndarray:
    """`score` of every run and task, (S, T)."""
    return np.stack([score(run.tasks) for run in runs])


def pool(scores_ST: np.ndarray, num_bootstrap: int) -> Pooled:
    """Mean over seeds and tasks with its intervals."""
    interval = bootstrap_mean(scores_ST.mean(axis=0), num_bootstrap=num_bootstrap, seed=_BOOTSTRAP_SEED)
    seed_means_S = scores_ST.mean(axis=1)
    return Pooled(
        mean=float(scores_ST.mean()),
        low=interval.low,
        high=interval.high,
        seed_min=float(seed_means_S.min()),
        seed_max=float(seed_means_S.max()),
        num_seeds=len(seed_means_S),
    )


def compare_runs(
    arm: Sequence[Run], other: Sequence[Run], score: Callable[[Tasks], np.ndarray], num_bootstrap: int
) -> Difference | None:
    """`arm` minus `other`, paired by task and seed; None when they have no seed in common."""
    arm_by_seed, other_by_seed = {run.seed: run for run in arm}, {run.seed: run for run in other}
    seeds = sorted(arm_by_seed.keys() & other_by_seed.keys())
    if not seeds:
        return None
    arm_ST = score_matrix([arm_by_seed[seed] for seed in seeds], score)
    other_ST = score_matrix([other_by_seed[seed] for seed in seeds], score)
    paired = paired_difference(arm_ST.mean(axis=0), other_ST.mean(axis=0), num_bootstrap=num_bootstrap, seed=_BOOTSTRAP_SEED)
    seed_low, seed_high = seed_interval((arm_ST - other_ST).mean(axis=1))
    return Difference(
        mean=float((arm_ST - other_ST).mean()),
        low=paired.low,
        high=paired.high,
        seed_low=seed_low,
        seed_high=seed_high,
        num_seeds=len(seeds),
        num_tasks=arm_ST.shape[1],
    )


def seed_interval(values_S: np.ndarray) -> tuple[float | None, float | None]:
    """Student's t interval of the mean over seeds; (None, None) for a single seed.

    Source: mean +- t(S - 1) * s / sqrt(S), s the sample standard deviation.
    """
    from scipy.special import stdtrit

    num_seeds = len(values_S)
    if num_seeds < 2:
        return None, None
    half = float(stdtrit(num_seeds - 1, (1 + LEVEL) / 2)) * float(values_S.std(ddof=1)) / num_seeds**0.5
    mean = float(values_S.mean())
    return mean - half, mean + half
