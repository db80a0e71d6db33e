"""How sure are we of a mean over tasks, and of the difference between two runs on the same tasks?

Percentile bootstrap over tasks: the trained models and their samples are held fixed. Suffix: T tasks.
Source: Efron and Tibshirani 1993, chapters 13 and 16; Koehn 2004 (paired bootstrap, W04-3250).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
_DRAWN_AT_ONCE = 2**22
"""Resampled task numbers in memory at a time (32 MiB)."""


class Interval(NamedTuple):
    """Of the mean over tasks."""

    low: float
    high: float
    mean: float


class Comparison(NamedTuple):
    """One run minus another. `p_value`: two-sided, the bootstrap's achieved significance that the difference is not zero."""

    low: float
    high: float
    difference: float
    p_value: float


def bootstrap_mean(scores_T: np.ndarray, *, num_bootstrap: int = 2000, seed: int = 0, level: float = LEVEL) -> Interval:
    """Interval of the mean of per-task scores.

    Raises:
        ValueError: no tasks, a score that is not finite, or a level outside (0, 1).
    """
    scores_T = _checked(scores_T, num_bootstrap, level)
    low, high = np.quantile(_resampled_means(scores_T, num_bootstrap, seed), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), float(scores_T.mean()))


def paired_difference(
    scores_T: np.ndarray, other_T: np.ndarray, *, num_bootstrap: int = 2000, seed: int = 0, level: float = LEVEL
) -> Comparison:
    """`scores_T` minus `other_T`, resampling whole tasks so that a hard task is hard for both.

    Raises:
        ValueError: the two are not scores of the same tasks, or as `bootstrap_mean`.
    """
    if np.shape(scores_T) != np.shape(other_T):
        raise ValueError(f"paired scores need the same tasks: {np.shape(scores_T)} against {np.shape(other_T)}")
    differences_T = _checked(np.asarray(scores_T, np.float64) - np.asarray(other_T, np.float64), num_bootstrap, level)
    means = _resampled_means(differences_T, num_bootstrap, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    one_sided = min((means <= 0).sum(), (means >= 0).sum())
    p_value = min(1.0, 2 * (int(one_sided) + 1) / (num_bootstrap + 1))
    return Comparison(float(low), float(high), float(differences_T.mean()), p_value)


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
