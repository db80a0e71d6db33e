"""How sure are we of a mean over tasks, and of the difference between two runs on the same tasks?

Percentile bootstrap over tasks: the trained models and their samples are held fixed. Suffix: T tasks.

Where nearly all tasks have the same score, what was drawn says too little of what was not: an interval would be of no width
where all agree. So tasks are resampled beside one more at either end of the range, which any score is between (`ENDS`). It is
Agresti and Coull's (1998) remedy for proportions, with one made-up success and failure; `benchmarks/coverage.py` shows what it
does to the coverage.

Source: Efron and Tibshirani 1993, chapters 13 and 16; Koehn 2004 (paired bootstrap, W04-3250); for several differences at once
Romano and Wolf 2005 (the largest of the studentised differences, resampled together).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
ENDS = (0.0, 1.0)
"""Of a share of samples that solve a task."""
DIFFERENCE_ENDS = (-1.0, 1.0)
"""Of a difference between two such shares: where fewer than `FEW` tasks tell the two apart. Where more do, their differences
are far smaller than 1, and ends would say more than they do."""
FEW = 10
_DRAWN_AT_ONCE = 2**22
"""Resampled task numbers in memory at a time (32 MiB)."""


class Interval(NamedTuple):
    """Of the mean over tasks."""

    low: float
    high: float
    mean: float


def bootstrap_mean(
    scores_T: np.ndarray, *, ends: Sequence[float] = (), num_bootstrap: int = 2000, seed: int = 0, level: float = LEVEL
) -> Interval:
    """Interval of the mean of per-task scores.

    Args:
        ends: of the scores' range, where it has any: resampled with the scores. They are not in the mean.
    Raises:
        ValueError: no tasks, a score that is not finite, or a level outside (0, 1).
    """
    scores_T = _checked(scores_T, num_bootstrap, level)
    drawn_from = np.concatenate([scores_T, np.asarray(ends, np.float64)])
    low, high = np.quantile(_resampled_means(drawn_from, num_bootstrap, seed), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), float(scores_T.mean()))


def joint_intervals(
    differences_AT: np.ndarray,
    *,
    ends: Sequence[float] = (),
    num_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> list[tuple[float, float]]:
    """One interval for the mean of each row, such that all of them hold together with the level's probability.

    Args:
        differences_AT: such as arms minus one baseline, on the same tasks, which are resampled for all rows at once.
        ends: as in `bootstrap_mean`, for rows of which `few_differ`.
    Returns:
        mean -+ c * s of every row: s the bootstrap's standard error, c the level's quantile of max |t| over the rows.
    Raises:
        ValueError: as `bootstrap_mean`, for any row.
    """
    checked = [_checked(differences_T, num_bootstrap, level) for differences_T in differences_AT]
    rows = [np.concatenate([row, ends if few_differ(row) else np.full(len(ends), row.mean())]) for row in checked]
    means_A = np.array([row.mean() for row in rows])
    errors_BA = np.stack([_resampled_means(row, num_bootstrap, seed) for row in rows], axis=1) - means_A
    spread_A = errors_BA.std(axis=0)
    varies_A = spread_A > 0
    largest_B = np.abs(errors_BA[:, varies_A] / spread_A[varies_A]).max(axis=1, initial=0.0)
    half_A = np.quantile(largest_B, level) * spread_A
    return [(float(mean - half), float(mean + half)) for mean, half in zip(means_A, half_A, strict=True)]


def few_differ(differences_T: np.ndarray) -> bool:
    """Whether too few differences are not zero to know how large they are."""
    return int(np.count_nonzero(differences_T)) < FEW


def _checked(scores_T: np.ndarray, num_bootstrap: int, level: float) -> np.ndarray:
    scores_T = np.asarray(scores_T, np.float64)
    if scores_T.ndim != 1 or not len(scores_T):
        raise ValueError(f"scores must be a non-empty vector over tasks, not of shape {scores_T.shape}")
    if not np.isfinite(scores_T).all():
        raise ValueError("scores must be finite")
    if num_bootstrap < 1 or not 0 < level < 1:
        raise ValueError(f"num_bootstrap={num_bootstrap} must be positive and level={level} in (0, 1)")
    return scores_T


def _resampled_means(scores_T: np.ndarray, num_bootstrap: int, seed: int) -> np.ndarray:
    return np.concatenate(list(_blocks(scores_T, num_bootstrap, seed)))


def _blocks(scores_T: np.ndarray, num_bootstrap: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = max(1, _DRAWN_AT_ONCE // len(scores_T))
    for start in range(0, num_bootstrap, rows):
        drawn = rng.integers(len(scores_T), size=(min(rows, num_bootstrap - start), len(scores_T)))
        yield scores_T[drawn].mean(axis=1)
