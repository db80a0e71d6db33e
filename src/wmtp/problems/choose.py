"""Which problems and solutions are kept, decided on columns alone (keys, labels, difficulty), by seed.

Shapes: P problems, N solutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wmtp.ledger import Account
from wmtp.problems.draw import drawn, in_order

UNKNOWN = -1
"""The difficulty of those whose difficulty is unknown, and the number of their bin."""


@dataclass(frozen=True)
class Candidates:
    """Solutions to choose from: the number of each one's problem, its label, and its key (of problem and text), (N,) each."""

    problems: np.ndarray
    is_correct: np.ndarray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.problems)

    def take(self, rows: np.ndarray) -> Candidates:
        """Some of them: numbers, or a mask."""
        return Candidates(self.problems[rows], self.is_correct[rows], self.keys[rows])

    @property
    def num_problems(self) -> int:
        """That have one."""
        return int(np.count_nonzero(np.bincount(self.problems))) if len(self) else 0


@dataclass(frozen=True)
class DifficultyBins:
    """Bins that rising `edges` cut (an edge belongs to the bin above it), one more than edges, each with a weight.

    Without any, difficulties are taken as they come. Unknown ones are a bin of their own, of weight `unknown`.
    """

    edges: Sequence[int] = ()
    weights: Sequence[float] = ()
    unknown: float = 0.0

    def numbers(self, difficulties: np.ndarray) -> np.ndarray:
        """Of the bins that difficulties fall into, from 0; `UNKNOWN` for those that are. (P,)"""
        found = np.searchsorted(np.asarray(self.edges, dtype=np.int64), difficulties, side="right")
        return np.where(difficulties == UNKNOWN, UNKNOWN, found)

    def weights_of(self, difficulties: np.ndarray) -> np.ndarray:
        """Of the difficulties' bins; 1 where there are no bins. (P,), float64"""
        if not self.weights:
            return np.ones(len(difficulties))
        return np.asarray([*self.weights, self.unknown], dtype=np.float64)[self.numbers(difficulties)]  # UNKNOWN: the last

    def weight(self, difficulty: int | None) -> float:
        """Of one difficulty's bin."""
        return float(self.weights_of(np.asarray([UNKNOWN if difficulty is None else difficulty]))[0])


def choose_problems(
    difficulties: np.ndarray, keys: np.ndarray, bins: DifficultyBins, number: int | None, seed: str
) -> np.ndarray:
    """Numbers of at most `number` problems (None: as many as the bins' shares allow), rising.

    With difficulty bins the kept problems' shares follow the weights up to rounding (largest remainders), as far as the
    source reaches: None keeps the most problems for which every bin has enough.

    Args:
        difficulties: (P,), `UNKNOWN` where they are; keys: (P,), uint64.
    """
    order = in_order(f"problems {seed}", keys)
    if not bins.weights:
        return np.sort(order[:number])
    numbers, weights = bins.numbers(difficulties)[order], np.asarray([*bins.weights, bins.unknown])
    wanted = [i for i in range(len(weights)) if weights[i] > 0]
    members = [order[numbers == (i if i < len(bins.weights) else UNKNOWN)] for i in wanted]
    shares = weights[wanted] / weights[wanted].sum()
    reach = min(int(len(own) / share + 1e-9) for own, share in zip(members, shares, strict=True))
    quotas = largest_remainder(shares, reach if number is None else min(number, reach))
    return np.sort(np.concatenate([own[:quota] for own, quota in zip(members, quotas, strict=True)]))


def largest_remainder(shares: np.ndarray, number: int) -> np.ndarray:
    """Whole numbers that add up to `number`, each its share of it rounded down or up; the first of equal remainders is up.

    Args:
        shares: add up to one.
    Source: Hare's method, as in Balinski and Young 1982, Fair Representation.
    """
    exact = shares * number
    whole = np.floor(exact + 1e-9).astype(np.int64)
    up = np.argsort(np.round(whole - exact, 9), kind="stable")[: number - whole.sum()]
    whole[up] += 1
    return whole


def choose_solutions(
    candidates: Candidates, *, max_per_problem: int, pairwise: bool, seed: str, account: Account
) -> np.ndarray:
    """At most `max_per_problem` solutions of each problem; `pairwise`: as many right as wrong ones, at least one pair.

    Whether a solution is chosen depends on the seed and on its problem's solutions only. `account` is told what is dropped:
    `without_partner` (the whole problem where it has no wrong or no right solution) and `over_max_per_problem`.

    Returns:
        numbers of the chosen candidates, by problem, and within one as they were drawn.
    """
    draw = drawn(f"solutions {seed}", candidates.keys)
    groups = candidates.problems * 2 + candidates.is_correct if pairwise else candidates.problems
    sizes = np.bincount(groups, minlength=2)
    order = np.lexsort((draw, groups))
    sorted_groups = groups[order]
    ranks = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[sorted_groups]
    if not pairwise:
        account.solutions.drop("over_max_per_problem", int(np.maximum(sizes - max_per_problem, 0).sum()))
        return np.asarray(order[ranks < max_per_problem])
    wrong, right = np.pad(sizes, (0, len(sizes) % 2)).reshape(-1, 2).T
    pairs = np.minimum(wrong, right)
    account.drop("without_partner", int(((pairs == 0) & (wrong + right > 0)).sum()), int((wrong + right - 2 * pairs).sum()))
    account.solutions.drop("over_max_per_problem", 2 * int(np.maximum(pairs - max_per_problem // 2, 0).sum()))
    kept = order[ranks < np.minimum(pairs, max_per_problem // 2)[sorted_groups // 2]]
    return np.asarray(kept[np.lexsort((draw[kept], candidates.problems[kept]))])


def keep_correct_ratio(is_correct: np.ndarray, keys: np.ndarray, ratio: float | None, seed: str) -> np.ndarray:
    """Numbers, rising, of the largest subset in which the share of True is `ratio`, up to rounding: the class in excess is
    thinned at random. (N,) each."""
    if ratio is None:
        return np.arange(len(keys))
    order = in_order(f"ratio {seed}", keys)
    right, wrong = order[is_correct[order]], order[~is_correct[order]]
    most_wrong = round(len(right) * (1 - ratio) / ratio) if ratio > 0 else len(wrong)
    most_right = round(len(wrong) * ratio / (1 - ratio)) if ratio < 1 else len(right)
    return np.sort(np.concatenate([right[:most_right], wrong[:most_wrong]]))


def keep_pairs(problems: np.ndarray, is_correct: np.ndarray) -> np.ndarray:
    """Numbers, rising, of as many right as wrong ones of each problem, the first ones. (N,) each."""
    groups = problems * 2 + is_correct
    sizes = np.bincount(groups, minlength=2)
    wrong, right = np.pad(sizes, (0, len(sizes) % 2)).reshape(-1, 2).T
    order = np.argsort(groups, kind="stable")
    ranks = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[groups[order]]
    return np.sort(order[ranks < np.minimum(wrong, right)[groups[order] // 2]])


def curriculum_order(difficulties: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Numbers from easy to hard, unknown difficulties last; short before long, ties as they stand. (N,) each."""
    return np.lexsort((lengths, difficulties, difficulties == UNKNOWN))
