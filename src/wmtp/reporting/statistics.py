"""Pooled scores and paired differences with two kinds of interval: over tasks and over seeds.

The interval over tasks resamples tasks and holds the trained models fixed: it says how well *these runs* are known. The
interval over seeds (Student's t) says how well the *method* is known; it needs at least two seeds. A claim about a
method needs both. Where a report makes several comparisons, a claim needs both as they hold for all comparisons together.
Over seeds it needs more than 95 % in any case, see `CLAIM_LEVEL`.

Suffixes: S seeds, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np

from wmtp.evaluation.compare import DIFFERENCE_ENDS, ENDS, LEVEL, bootstrap_mean, few_differ, joint_intervals
from wmtp.evaluation.pass_at_k import task_scores
from wmtp.reporting.findings import CLAIM_LEVEL
from wmtp.reporting.inputs import Checkpoint, Run, Tasks

_BOOTSTRAP_SEED = 0
_POWER = 0.8


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

    `joint_...`: what a claim needs besides, see `compare_family`; over tasks None of one comparison, over seeds of one seed.
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
    def detectable(self) -> float:
        """A true difference of so much would be found, where runs vary as these do, in four of five repetitions or so: its
        estimate then lies beyond the half-widths of all intervals that a claim needs. With one seed, of the choice of tasks
        alone.

        Source: half-width + z(0.8) * standard error, the error taken as half-width / 1.96 of the plain interval over tasks, and
        as half-width / t of that over seeds; of the t test at `CLAIM_LEVEL` its power, by the noncentral t distribution.
        """
        from scipy.special import ndtri, stdtrit

        quantile, power = (1 + LEVEL) / 2, float(ndtri(_POWER))
        over_tasks = _half(self.low, self.high)
        needed = [max(over_tasks, _half(self.joint_low, self.joint_high)) + power / float(ndtri(quantile)) * over_tasks]
        if self.num_seeds > 1:
            freedom = self.num_seeds - 1
            error = _half(self.seed_low, self.seed_high) / float(stdtrit(freedom, quantile))
            needed.append(_noncentrality(freedom, float(stdtrit(freedom, (1 + CLAIM_LEVEL) / 2))) * error)
            needed.append(_half(self.joint_seed_low, self.joint_seed_high) + power * error)
        return max(needed)

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


def as_json(difference: Difference | None) -> dict[str, Any] | None:
    """With what follows from it."""
    if difference is None:
        return None
    return {**asdict(difference), "verdict": difference.verdict, "detectable": difference.detectable}


def _half(low: float | None, high: float | None) -> float:
    """Half-width of an interval; 0 where there is none."""
    return 0.0 if low is None or high is None else (high - low) / 2


def _noncentrality(freedom: int, critical: float) -> float:
    """How many standard errors a true mean must be off zero for a t test to find it with probability `_POWER`."""
    from scipy.optimize import brentq
    from scipy.special import nctdtr

    return float(brentq(lambda true: nctdtr(freedom, true, critical) - (1 - _POWER), 0.0, 3 * critical))


def task_pass_at_k(tasks: Tasks, k: int) -> np.ndarray:
    """Unbiased pass@k of every task, (T,).

    Raises:
        ValueError: a task has fewer than k samples.
    """
    return task_scores(tasks.num_samples.tolist(), tasks.num_correct.tolist(), k)


@dataclass(frozen=True)
class Score:
    """What arms are compared by: `of` a run's tasks, (T,), higher is better; `noun`: what one of these is called;
    `ends`: of the range of a difference, none where it has no bounds."""

    name: str
    noun: str
    of: Callable[[Tasks], np.ndarray]
    ends: tuple[float, ...] = DIFFERENCE_ENDS

    @classmethod
    def for_tasks(cls, tasks: Tasks) -> Score:
        """pass@1 of tasks that are solved; of documents the nats that are saved, which is the NLL with its sign turned."""
        return NATS if tasks.nll is not None else PASS_AT_1


def _nats(tasks: Tasks) -> np.ndarray:
    assert tasks.nll is not None, "tasks are solved, and not read"
    return -tasks.nll


PASS_AT_1 = Score("pass@1", "task", partial(task_pass_at_k, k=1))
NATS = Score("nats per token saved", "document", _nats, ends=())


def score_matrix(runs: Sequence[Run | Checkpoint], score: Callable[[Tasks], np.ndarray]) -> np.ndarray:
    """`score` of every run and task, (S, T)."""
    return np.stack([score(run.tasks) for run in runs])


def pool(scores_ST: np.ndarray, num_bootstrap: int, *, ends: Sequence[float] = ENDS) -> Pooled:
    """Mean over seeds and tasks of shares that are solved, with its intervals; `ends`: see `bootstrap_mean`."""
    interval = bootstrap_mean(scores_ST.mean(axis=0), ends=ends, num_bootstrap=num_bootstrap, seed=_BOOTSTRAP_SEED)
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


def compare_family(
    pairs: Sequence[Pair],
    score: Callable[[Tasks], np.ndarray],
    num_bootstrap: int,
    *,
    ends: Sequence[float] = DIFFERENCE_ENDS,
) -> list[Difference | None]:
    """First minus second of every pair, by task and seed, with the intervals that hold for all of them together.

    None for pairs that have no seed in common. Over tasks they hold together by `joint_intervals`. Over seeds by Bonferroni's
    inequality, each at the level 1 - (1 - level) / number of pairs, with the variance between seeds pooled over all arms of the
    family: a handful of seeds tells an arm's own variance too badly for such levels. Who spreads more than others is held by
    the interval of its own variance at `CLAIM_LEVEL`: it is what is given where it is the wider one, and of a comparison alone.
    `ends`: of the differences' range, see `bootstrap_mean`; none for what has no bounds.

    Source: Dunn 1961, Multiple comparisons among means.
    """
    scores = [_common(*pair, score) for pair in pairs]
    found = [None if both is None else _compared(both[0] - both[1], num_bootstrap, ends) for both in scores]
    family = {i: both for i, both in enumerate(scores) if both is not None}
    if len(family) > 1:
        by_task = np.stack([(ours_ST - others_ST).mean(axis=0) for ours_ST, others_ST in family.values()])
        over_tasks = joint_intervals(by_task, ends=ends, num_bootstrap=num_bootstrap, seed=_BOOTSTRAP_SEED)
        arms = {run.name: pair[side] for i in family for pair in [pairs[i]] for side in (0, 1) for run in pair[side][:1]}
        pooled = _pooled_deviation([score_matrix(runs, score).mean(axis=1) for runs in arms.values()])
        for i, (low, high) in zip(family, over_tasks, strict=True):
            one = replace(cast("Difference", found[i]), joint_low=low, joint_high=high)
            if pooled is not None and one.num_seeds > 1:
                half = pooled.half_width(one.num_seeds, 1 - (1 - LEVEL) / len(family))
                half = max(half, _half(one.joint_seed_low, one.joint_seed_high))
                one = replace(one, joint_seed_low=one.mean - half, joint_seed_high=one.mean + half)
            found[i] = one
    return found


def compare_checkpoints(
    checkpoints: Sequence[Checkpoint],
    baseline: Sequence[Run],
    score: Callable[[Tasks], np.ndarray],
    num_bootstrap: int,
    *,
    ends: Sequence[float] = DIFFERENCE_ENDS,
) -> list[Difference]:
    """Each checkpoint minus the mean of the baseline's runs, by task: over tasks alone, all models fixed. Those that hold for
    all of them together are joint, too, where there are several."""
    by_task = score_matrix(checkpoints, score) - score_matrix(baseline, score).mean(axis=0)
    found = [_compared(differences_T[None], num_bootstrap, ends) for differences_T in by_task]
    if len(found) > 1:
        over_tasks = joint_intervals(by_task, ends=ends, num_bootstrap=num_bootstrap, seed=_BOOTSTRAP_SEED)
        found = [replace(one, joint_low=low, joint_high=high) for one, (low, high) in zip(found, over_tasks, strict=True)]
    return found


@dataclass(frozen=True)
class _Pooled:
    """The standard deviation between seeds of all arms together, and its degrees of freedom."""

    deviation: float
    freedom: int

    def half_width(self, num_seeds: int, level: float) -> float:
        """Of the interval of a difference between the means of two arms with so many seeds each."""
        from scipy.special import stdtrit

        return float(stdtrit(self.freedom, (1 + level) / 2)) * self.deviation * (2 / num_seeds) ** 0.5


def _pooled_deviation(means: Sequence[np.ndarray]) -> _Pooled | None:
    """Of the arms' scores by seed; None where no arm has two seeds."""
    freedom = sum(len(means_S) - 1 for means_S in means)
    if freedom == 0:
        return None
    squares = sum(float(((means_S - means_S.mean()) ** 2).sum()) for means_S in means)
    return _Pooled((squares / freedom) ** 0.5, freedom)


def _common(
    arm: Sequence[Run], other: Sequence[Run], score: Callable[[Tasks], np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Both arms' scores of every seed that both have and every task, (S, T)."""
    arm_by_seed, other_by_seed = {run.seed: run for run in arm}, {run.seed: run for run in other}
    seeds = sorted(arm_by_seed.keys() & other_by_seed.keys())
    if not seeds:
        return None
    return (
        score_matrix([arm_by_seed[seed] for seed in seeds], score),
        score_matrix([other_by_seed[seed] for seed in seeds], score),
    )


def _compared(differences_ST: np.ndarray, num_bootstrap: int, ends: Sequence[float]) -> Difference:
    by_task = differences_ST.mean(axis=0)
    beside = ends if few_differ(by_task) else ()
    over_tasks = bootstrap_mean(by_task, ends=beside, num_bootstrap=num_bootstrap, seed=_BOOTSTRAP_SEED)
    by_seed = differences_ST.mean(axis=1)
    seed_low, seed_high = seed_interval(by_seed)
    joint_seed_low, joint_seed_high = seed_interval(by_seed, CLAIM_LEVEL)
    return Difference(
        mean=float(differences_ST.mean()),
        low=over_tasks.low,
        high=over_tasks.high,
        seed_low=seed_low,
        seed_high=seed_high,
        num_seeds=differences_ST.shape[0],
        num_tasks=differences_ST.shape[1],
        joint_seed_low=joint_seed_low,
        joint_seed_high=joint_seed_high,
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
