"""Which problems and solutions are kept, decided on metadata alone (ids, labels, difficulty, length), seeded."""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from dataclasses import dataclass

from wmtp.ledger import Account

UNKNOWN = -1
"""Number of the bin of those whose difficulty is unknown."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What sampling knows of one solution. `problem` and `solution` are its place in the source; `length` in characters."""

    problem: int
    solution: int
    is_correct: bool
    difficulty: int | None
    length: int


@dataclass(frozen=True)
class DifficultyBins:
    """Bins that rising `edges` cut (an edge belongs to the bin above it), one more than edges, each with a weight.

    Without any, difficulties are taken as they come. Unknown ones are a bin of their own, of weight `unknown`.
    """

    edges: Sequence[int] = ()
    weights: Sequence[float] = ()
    unknown: float = 0.0

    def number(self, difficulty: int | None) -> int:
        """Of the bin that the difficulty falls into, from 0; `UNKNOWN` for those that are."""
        return UNKNOWN if difficulty is None else bisect.bisect_right(self.edges, difficulty)

    def weight(self, difficulty: int | None) -> float:
        """Of the difficulty's bin; 1 where there are no bins."""
        return self.by_number()[self.number(difficulty)] if self.weights else 1.0

    def by_number(self) -> dict[int, float]:
        """Every bin's weight."""
        return {**dict(enumerate(self.weights)), UNKNOWN: self.unknown}


def choose_problems(difficulties: Sequence[int | None], bins: DifficultyBins, number: int | None, seed: str) -> list[int]:
    """Indices of at most `number` problems (None: as many as the bins' shares allow), in source order.

    With difficulty bins the kept problems' shares follow the weights as far as the source reaches: None keeps the most
    problems whose shares are exactly the weights' (rounded down). What a number keeps is part of what None keeps.
    """
    draw = random.Random(f"problems {seed}")
    order = list(range(len(difficulties)))
    draw.shuffle(order)
    if not bins.weights:
        return sorted(order[:number])
    weights = bins.by_number()
    members: dict[int, list[int]] = {i: [] for i, weight in weights.items() if weight > 0}
    for index in order:
        members.get(bins.number(difficulties[index]), []).append(index)
    total = sum(weights[i] for i in members)
    share = {i: weights[i] / total for i in members}
    reach = min((int(len(members[i]) / share[i] + 1e-9) for i in members), default=0)
    wanted = reach if number is None else min(number, reach)
    return sorted(index for i in members for index in members[i][: int(wanted * share[i] + 1e-9)])


def choose_solutions(
    candidates: Sequence[Candidate], *, max_per_problem: int, pairwise: bool, seed: str, account: Account
) -> list[Candidate]:
    """At most `max_per_problem` solutions of each problem; `pairwise`: as many right as wrong ones, at least one pair.

    Each problem's choice depends on the seed and the problem only. `account` is told what is dropped: `without_partner`
    (the whole problem where it has no wrong or no right solution) and `over_max_per_problem`.
    """
    groups: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.problem, []).append(candidate)
    chosen: list[Candidate] = []
    for problem, group in groups.items():
        random.Random(f"solutions {seed} {problem}").shuffle(group)
        if pairwise:
            right, wrong = [c for c in group if c.is_correct], [c for c in group if not c.is_correct]
            pairs = min(len(right), len(wrong))
            account.drop("without_partner", int(pairs == 0), len(group) - 2 * pairs)
            account.solutions.drop("over_max_per_problem", 2 * max(0, pairs - max_per_problem // 2))
            number = min(pairs, max_per_problem // 2)
            group = right[:number] + wrong[:number]
        else:
            account.solutions.drop("over_max_per_problem", max(0, len(group) - max_per_problem))
            group = group[:max_per_problem]
        chosen += sorted(group, key=lambda candidate: candidate.solution)
    return chosen


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


def curriculum_order(difficulties: Sequence[int | None], lengths: Sequence[int]) -> list[int]:
    """Indices from easy to hard, unknown difficulties last; short before long, ties in source order."""
    return sorted(range(len(lengths)), key=lambda i: (difficulties[i] is None, difficulties[i] or 0, lengths[i]))
