"""Solutions that come with a label: run, believed, or believed after a sample of them was run (`data.labels`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wmtp.config.data import DataConfig
from wmtp.examples.blame import not_the_algorithm
from wmtp.ledger import Line
from wmtp.problems.draw import in_order, key_of
from wmtp.types import Problem, Solution, Verdict

Text = tuple[Problem, str]
"""A solution's text and the problem whose tests it is to pass."""

Verify = Callable[[Sequence[Text]], list[Verdict]]

Given = tuple[Problem, Solution]


class Settled(NamedTuple):
    """A given solution that is used. `verdict`: what it did; None where it did not run."""

    problem: Problem
    solution: Solution
    verdict: Verdict | None = None


RIGHT_THAT_FAIL, WRONG_THAT_PASS = "right_that_fail", "wrong_that_pass"
"""The reasons of those whose run contradicts their label."""


@dataclass
class LabelCheck:
    """How many given labels were put to the test, and how many of them the run contradicted."""

    checked: int = 0
    contradicted: int = 0

    @property
    def error_rate(self) -> float:
        """Share of the checked labels that are wrong; NaN where none was checked."""
        return self.contradicted / self.checked if self.checked else math.nan

    def __add__(self, other: LabelCheck) -> LabelCheck:
        return LabelCheck(self.checked + other.checked, self.contradicted + other.contradicted)


def settle(
    given: Sequence[Given], config: DataConfig, verify: Verify, solutions: Line, table: str
) -> tuple[list[Settled], LabelCheck]:
    """The given solutions that are used, whose label then holds for the text as it stands, and how the check of labels went.

    A solution whose run contradicts its label is dropped, and so is one whose run says nothing of its algorithm, whatever its
    label (see `not_the_algorithm`). With `labels: sampled` a share of them is run, drawn by seed and table.
    """
    chosen = set(_to_run(given, config, table))
    verdicts = dict(zip(sorted(chosen), verify([(given[i][0], given[i][1].code) for i in sorted(chosen)]), strict=True))
    kept, check = [], LabelCheck()
    for i, (problem, solution) in enumerate(given):
        if i in chosen:
            reason = _reason(solution, verdicts[i], timeouts_count=config.timeouts == "wrong")
            is_contradicted = reason in (RIGHT_THAT_FAIL, WRONG_THAT_PASS)
            if is_contradicted or not reason:
                check += LabelCheck(1, int(is_contradicted))
            if reason:
                solutions.drop(reason)
                continue
        kept.append(Settled(problem, solution, verdicts.get(i)))
    return kept, check


def _to_run(given: Sequence[Given], config: DataConfig, table: str) -> Sequence[int]:
    if config.labels == "trusted":
        return ()
    if config.labels == "sampled":
        keys = [key_of(problem.problem_id, solution.code) for problem, solution in given]
        order = in_order(f"verified {config.seed} {table}", np.asarray(keys, dtype=np.uint64))
        return [int(i) for i in order[: math.ceil(config.verified_frac * len(given))]]
    return range(len(given))


def _reason(solution: Solution, verdict: Verdict, *, timeouts_count: bool) -> str:
    """Why a solution is not used; empty where its label is confirmed."""
    if verdict.passed:
        return "" if solution.is_correct else WRONG_THAT_PASS
    elsewhere = not_the_algorithm(verdict)
    if elsewhere:
        return elsewhere
    if solution.is_correct:
        return RIGHT_THAT_FAIL
    return "" if timeouts_count or verdict.status != "timeout" else "wrong_by_time_alone"
