"""How often the report's intervals hold, and how often it claims what is not there: by simulation, on the CPU, in half an hour.

    python benchmarks/coverage.py

Runs are simulated, not trained: a task's difficulty, an arm's effect and a seed's luck decide the probability of every sample.
Coverage is of the runs' true mean difference, by the interval over tasks, and of the method's, which is 0, by that over seeds:
the share of plain intervals that hold, and of reports in which all joint ones do. The last table's is of a score's true mean,
where nearly no task is solved: `one or none` by one sample, `graded` by ten of tasks that are nearly all hopeless. A run's luck
is normal, or `skewed`: most runs are a little lucky and a few fail badly (minus an exponential). Arms that differ in their luck
are made equal in their mean score; of their luck the baseline's is named first. The family-wise error is the share of reports,
with no arm any different from the baseline, in which at least one arm is said to beat it or to be worse.
What is wanted: 93 to 97 % and at most 6 %.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from wmtp.evaluation.compare import ENDS, bootstrap_mean
from wmtp.reporting.inputs import Run, Tasks
from wmtp.reporting.statistics import Difference, compare_family, task_pass_at_k

SAMPLES = 10


class Luck(NamedTuple):
    """Of an arm's runs. `spread`: standard deviation on the scale of log-odds; the demo's baseline has about 0.5."""

    spread: float
    skewed: bool = False

    def __str__(self) -> str:
        return f"{self.spread}{' skewed' if self.skewed else ''}"

    def draw(self, rng: np.random.Generator, number: int) -> np.ndarray:
        return self.spread * (1 - rng.exponential(1, number) if self.skewed else rng.normal(0, 1, number))


class Case(NamedTuple):
    """A report's arms, the baseline first, and the number of its seeds."""

    seeds: int
    arms: tuple[Luck, ...]

    def __str__(self) -> str:
        groups = [(luck, len(list(same))) for luck, same in itertools.groupby(self.arms)]
        luck = ", ".join(f"{number} x {luck}" for luck, number in groups) if len(groups) > 1 else str(groups[0][0])
        return f"{len(self.arms)} | {self.seeds} | {luck}"


STEADY, USUAL, FICKLE, WILD = Luck(0.2), Luck(0.5), Luck(1.0, skewed=True), Luck(1.5, skewed=True)
CASES = (
    Case(3, (USUAL,) * 2),
    Case(1, (USUAL,) * 6),
    Case(3, (USUAL,) * 6),
    Case(5, (USUAL,) * 6),
    Case(3, (USUAL,) * 17),
    Case(3, (Luck(0.0),) * 6),
    Case(3, (Luck(0.5, skewed=True),) * 2),
    Case(3, (Luck(0.5, skewed=True),) * 6),
    *(Case(seeds, (STEADY, odd)) for odd in (FICKLE, WILD) for seeds in (3, 5, 10)),
    *(Case(seeds, (STEADY, *(FICKLE,) * 5)) for seeds in (3, 5, 10)),
    *(Case(seeds, (*(STEADY,) * 5, WILD)) for seeds in (3, 5, 10)),
    *(Case(seeds, (FICKLE, *(STEADY,) * 5)) for seeds in (3, 5, 10)),
)


def offset(luck: Luck) -> float:
    """What is added to an arm's log-odds so that its mean score is a half, whatever its luck."""
    rng = np.random.default_rng(0)
    odds = luck.draw(rng, 200_000) - rng.normal(0, 2, 200_000)
    low, high = -3.0, 3.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 / (1 + np.exp(-odds - middle))).mean() < 0.5 else (low, middle)
    return low


def simulate(rng: np.random.Generator, case: Case, offsets: Sequence[float], tasks: int) -> tuple[list[list[Run]], np.ndarray]:
    """Runs of every arm, and their true scores by arm and seed."""
    hardness_T = rng.normal(0, 2, tasks)
    luck_AS = np.stack([luck.draw(rng, case.seeds) + shift for luck, shift in zip(case.arms, offsets, strict=True)])
    chance_AST = 1 / (1 + np.exp(hardness_T - luck_AS[..., None]))
    solved_AST = rng.binomial(SAMPLES, chance_AST)
    ids = tuple(str(i) for i in range(tasks))
    flat, full = np.zeros(tasks, dtype=int), np.full(tasks, SAMPLES)
    runs = [
        [
            Run(f"{arm}-s{seed}", str(arm), seed, {}, Tasks(ids, flat, full, solved_T, solved_T > 5), {}, [], [])
            for seed, solved_T in enumerate(solved_ST)
        ]
        for arm, solved_ST in enumerate(solved_AST)
    ]
    return runs, chance_AST.mean(axis=2)


def _holds(low: float | None, high: float | None, true: float = 0.0) -> bool:
    """Whether an interval holds what is true; where there is none nothing is claimed by it."""
    return low is None or high is None or low <= true <= high


def counts(found: Sequence[Difference], truth: Sequence[float]) -> np.ndarray:
    """Of one report: shares of plain intervals that hold, over tasks and over seeds; whether all joint ones do; whether plain
    intervals claim something, and the report."""
    plain = [
        not _holds(one.low, one.high) and (one.seed_low is None or not _holds(one.seed_low, one.seed_high)) for one in found
    ]
    return np.array(
        [
            np.mean([_holds(one.low, one.high, true) for one, true in zip(found, truth, strict=True)]),
            np.mean([_holds(one.seed_low, one.seed_high) for one in found]),
            all(_holds(one.joint_low, one.joint_high, true) for one, true in zip(found, truth, strict=True)),
            all(_holds(one.joint_seed_low, one.joint_seed_high) for one in found),
            any(plain),
            any(one.verdict in ("better", "worse") for one in found),
        ],
        float,
    )


def coverage_of_differences(case: Case, reports: int, tasks: int) -> None:
    """A row of the table: how often the intervals of differences hold, and how often a report claims something."""
    rng = np.random.default_rng(0)
    equal = len(set(case.arms)) == 1
    shifts = {luck: 0.0 if equal else offset(luck) for luck in set(case.arms)}
    sums = np.zeros(6)
    for _ in range(reports):
        runs, true_AS = simulate(rng, case, [shifts[luck] for luck in case.arms], tasks)
        found = compare_family([(arm, runs[0]) for arm in runs[1:]], partial(task_pass_at_k, k=1), 500)
        truth = (true_AS[1:] - true_AS[0]).mean(axis=1)
        sums += counts([each for each in found if each is not None], truth.tolist())
    is_there = (True, case.seeds > 1, len(case.arms) > 2, case.seeds > 1, True, True)
    shown = [f"{100 * rate:.1f} %" if there else "" for rate, there in zip(sums / reports, is_there, strict=True)]
    print(f"| {case} | {' | '.join(shown)} |", flush=True)


def coverage_of_shares(rng: np.random.Generator, repetitions: int) -> None:
    """How often the interval of a mean score holds, resampled as it is and beside the ends of its range."""
    print("\n| tasks | true score | scores | tasks alone | as reported |")
    print("| --- | --- | --- | --- | --- |")
    for tasks, chance, kind in itertools.product((50, 150, 500), (0.005, 0.02, 0.1, 0.5), ("one or none", "graded")):
        held = np.zeros(2)
        for _ in range(repetitions):
            if kind == "graded":
                scores_T = rng.binomial(SAMPLES, rng.beta(0.15, 0.15 * (1 - chance) / chance, tasks)) / SAMPLES
            else:
                scores_T = (rng.random(tasks) < chance).astype(float)
            for column, ends in enumerate(((), ENDS)):
                found = bootstrap_mean(scores_T, ends=ends, num_bootstrap=500, seed=int(rng.integers(2**31)))
                held[column] += found.low <= chance <= found.high
        alone, reported = 100 * held / repetitions
        print(f"| {tasks} | {chance} | {kind} | {alone:.1f} % | {reported:.1f} % |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=150)
    options = parser.parse_args()
    columns = ("over tasks", "over seeds", "jointly over tasks", "jointly over seeds", "claims, plain", "claims, as reported")
    print(f"| arms | seeds | luck | {' | '.join(columns)} |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        coverage_of_differences(case, options.reports, options.tasks)
    coverage_of_shares(np.random.default_rng(0), options.reports)


if __name__ == "__main__":
    main()
