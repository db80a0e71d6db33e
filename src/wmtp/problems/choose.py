"""Which problems and solutions are kept, decided on metadata alone (ids, labels, difficulty, length), seeded."""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from dataclasses import dataclass

from wmtp.config.schema import DataConfig


@dataclass(frozen=True)
class Row:
    """What sampling knows of one solution. `problem` and `solution` are its place in the source."""

    problem: int
    solution: int
    is_correct: bool
    difficulty: int
    length: int


def difficulty_weight(config: DataConfig, difficulty: int) -> float:
    """The weight of the difficulty's bin; 1 where no bins are configured."""
    if not config.difficulty_weights:
        return 1.0
    return config.difficulty_weights[bisect.bisect_right(config.difficulty_bins, difficulty)]


def choose_problems(difficulties: Sequence[int], config: DataConfig, number: int | None, seed: str) -> list[int]:
    """Indices of at most `number` problems (None: as many as the bins' shares allow), in source order.

    With difficulty bins the kept problems' shares follow the weights as far as the source reaches: None keeps the most
    problems whose shares are exactly the weights' (rounded down).
    """
    draw = random.Random(f"problems {seed}")
    order = list(range(len(difficulties)))
    draw.shuffle(order)
    if not config.difficulty_weights:
        return sorted(order[:number])
    bins: dict[int, list[int]] = {i: [] for i, weight in enumerate(config.difficulty_weights) if weight > 0}
    for index in order:
        bins.get(bisect.bisect_right(config.difficulty_bins, difficulties[index]), []).append(index)
    total = sum(config.difficulty_weights[i] for i in bins)
    share = {i: config.difficulty_weights[i] / total for i in bins}
    reach = min((int(len(bins[i]) / share[i] + 1e-9) for i in bins), default=0)
    wanted = reach if number is None else min(number, reach)
    return sorted(index for i in bins for index in bins[i][: int(wanted * share[i] + 1e-9)])


def choose_solutions(rows: Sequence[Row], *, max_per_problem: int, pairwise: bool, seed: str) -> list[Row]:
    """At most `max_per_problem` solutions of each problem; `pairwise`: as many right as wrong ones, at least one pair.

    Each problem's choice depends on the seed and the problem only.
    """
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.problem, []).append(row)
    kept: list[Row] = []
    for problem, group in groups.items():
        random.Random(f"solutions {seed} {problem}").shuffle(group)
        if pairwise:
            right, wrong = [r for r in group if r.is_correct], [r for r in group if not r.is_correct]
            number = min(len(right), len(wrong), max_per_problem // 2)
            group = right[:number] + wrong[:number]
        kept += sorted(group[:max_per_problem], key=lambda row: row.solution)
    return kept


def keep_correct_ratio(labels: Sequence[bool], ratio: float | None, seed: str) -> list[int]:
    """Indices of the largest subset in which the share of True is `ratio`: the class in excess is thinned at random."""
    indices = list(range(len(labels)))
    if ratio is None:
        return indices
    right, wrong = [i for i in indices if labels[i]], [i for i in indices if not labels[i]]
    draw = random.Random(f"ratio {seed}")
    draw.shuffle(right)
    draw.shuffle(wrong)
    most_wrong = round(len(right) * (1 - ratio) / ratio) if ratio > 0 else len(wrong)
    most_right = round(len(wrong) * ratio / (1 - ratio)) if ratio < 1 else len(right)
    return sorted(right[:most_right] + wrong[:most_wrong])


def curriculum_order(difficulties: Sequence[int], lengths: Sequence[int]) -> list[int]:
    """Indices from easy to hard, short before long, ties in source order."""
    return sorted(range(len(difficulties)), key=lambda i: (difficulties[i], lengths[i]))
