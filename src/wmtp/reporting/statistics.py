"""Pooled scores and paired differences with two kinds of interval: over tasks and over seeds.

The interval over tasks resamples tasks and holds the trained models fixed: it says how well *these runs* are known. The
interval over seeds (Student's t) says how well the *method* is known; it needs at least two seeds. A claim about a
method needs both. Where a report makes several comparisons, a claim needs both as they hold for all comparisons together.

Suffixes: S seeds, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wmtp.evaluation.compare import LEVEL, bootstrap_mean, joint_intervals
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
    """Arm minus baseline on the same tasks and seeds. `seed_low`/`seed_high` are None with one seed in common.

    `joint_...`: the same intervals, widened so that those of all comparisons of the family hold together; None where there is
    one comparison alone.
    """

    mean: float
    low: float
    high: float
    seed_low: float | None
    seed_high: float | None
    num_seeds: int
    num_tasks: int
    joint_low: float | None = None
    joint_high: float | None = None
    joint_seed_low: float | None = None
    joint_seed_high: float | None = None

    @property
    def verdict(self) -> str:
        """`single` for one pair of runs, of which nothing follows for a method; else `better`, `worse` or `unclear`: the
        intervals over tasks and over seeds, the joint ones where there are any, must exclude zero."""
        if self.seed_low is None or self.seed_high is None:
            return "single"
        lows = (self.low, self.seed_low, self.joint_low, self.joint_seed_low)
        highs = (self.high, self.seed_high, self.joint_high, self.joint_seed_high)
        if min(low for low in lows if low is not None) > 0:
            return "better"
        return "worse" if max(high for high in highs if high is not None) < 0 else "unclear"


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


Pair = tuple[Sequence[Run], Sequence[Run]]
"""The runs of an arm, and those of the arm that it is compared with."""


def compare_family(pairs: Sequence[Pair], score: Callable[[Tasks], np.ndarray], num_bootstrap: int) -> list[Difference | None]:
    """First minus second of every pair, by task and seed, with the intervals that hold for all of them together.

    None for pairs that have no seed in common. Over tasks they hold together by `joint_intervals`, over seeds by Bonferroni's
    inequality: each one's level is 1 - (1 - level) / number of pairs.
    """
    differences = [_differences(*pair, score) for pair in pairs]
    found = [None if differences_ST is None else _compared(differences_ST, num_bootstrap) for differences_ST in differences]
    family = {i: differences_ST for i, differences_ST in enumerate(differences) if differences_ST is not None}
    if len(family) > 1:
        by_task = np.stack([differences_ST.mean(axis=0) for differences_ST in family.values()])
        over_tasks = joint_intervals(by_task, num_bootstrap=num_bootstrap, seed=_BOOTSTRAP_SEED)
        level = 1 - (1 - LEVEL) / len(family)
        for (i, differences_ST), (low, high) in zip(family.items(), over_tasks, strict=True):
            seed_low, seed_high = seed_interval(differences_ST.mean(axis=1), level)
            one = _compared(differences_ST, num_bootstrap)
            one = replace(one, joint_low=low, joint_high=high)
            found[i] = replace(one, joint_seed_low=seed_low, joint_seed_high=seed_high)
    return found


def _differences(arm: Sequence[Run], other: Sequence[Run], score: Callable[[Tasks], np.ndarray]) -> np.ndarray | None:
    """Of every seed that both have and every task, (S, T)."""
    arm_by_seed, other_by_seed = {run.seed: run for run in arm}, {run.seed: run for run in other}
    seeds = sorted(arm_by_seed.keys() & other_by_seed.keys())
    if not seeds:
        return None
    ours_ST, others_ST = (score_matrix([runs[seed] for seed in seeds], score) for runs in (arm_by_seed, other_by_seed))
    return ours_ST - others_ST


def _compared(differences_ST: np.ndarray, num_bootstrap: int) -> Difference:
    over_tasks = bootstrap_mean(differences_ST.mean(axis=0), num_bootstrap=num_bootstrap, seed=_BOOTSTRAP_SEED)
    seed_low, seed_high = seed_interval(differences_ST.mean(axis=1))
    return Difference(
        mean=float(differences_ST.mean()),
        low=over_tasks.low,
        high=over_tasks.high,
        seed_low=seed_low,
        seed_high=seed_high,
        num_seeds=differences_ST.shape[0],
        num_tasks=differences_ST.shape[1],
    )


def seed_interval(values_S: np.ndarray, level: float = LEVEL) -> tuple[float | None, float | None]:
    """Student's t interval of the mean over seeds; (None, None) for a single seed.

    Source: mean +- t(S - 1) * s / sqrt(S), s the sample standard deviation.
    """
    from scipy.special import stdtrit

    num_seeds = len(values_S)
    if num_seeds < 2:
        return None, None
    half = float(stdtrit(num_seeds - 1, (1 + level) / 2)) * float(values_S.std(ddof=1)) / num_seeds**0.5
    mean = float(values_S.mean())
    return mean - half, mean + half
