"""Labelled solutions: right ones checked, wrong ones made or checked, noise added, and every final text run for its label.

Programs are run by `execute`, which the caller supplies; it is called with large batches, because sandboxes like those.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wmtp.config.schema import DataConfig
from wmtp.data.mutate import mutants
from wmtp.data.noise import Noised, add_noise, choose_kind
from wmtp.data.problems import Counts, count
from wmtp.data.render import Example, program_source, render_prompt
from wmtp.errors import DataError
from wmtp.types import Limits, Problem, Program, Verdict

Execute = Callable[[Sequence[Program]], list[Verdict]]

MUTANTS_TRIED = 6
"""Mutants tried for each wrong solution before it is given up as not to be had."""


@dataclass
class _Slot:
    """One example in the making: its candidate codes (a right one, or mutants to try in turn) and its noise."""

    problem: Problem
    candidates: list[str]
    must_fail: bool
    noise_kind: str
    noised: Noised | None = None
    verdict: Verdict | None = None


def make_examples(
    problems: Sequence[Problem], config: DataConfig, execute: Execute, *, split: str, noisy: bool, wrong: bool, counts: Counts
) -> list[Example]:
    """Right and (where `wrong`) wrong solutions of the problems, with noise where `noisy`, labelled by running them.

    A problem's right solutions must pass and its wrong ones fail all tests, or they are dropped and counted. Each right
    one gets `config.mutants_per_solution` wrong ones made by mutation. Noise comes on top and may turn right into wrong:
    the label is what the final text does.

    Args:
        problems: with the solutions to use.
        split: prefix of the counts, and part of the seed.
        noisy: add noise to the configured share.
    """
    draw = random.Random(f"labels {config.seed} {split}")
    right, wrong_given = _checked(problems, execute, split, counts, wrong)
    if not right:
        raise DataError(f"{split}: none of the {len(problems)} problems has a solution that passes its tests")
    slots = [_Slot(problem, [code], False, "") for problem, code in right]
    if wrong:
        slots += [_Slot(problem, [code], True, "") for problem, code in wrong_given]
        slots += _mutant_slots(right, config.mutants_per_solution, draw, split, counts)
    order = {problem.problem_id: i for i, problem in enumerate(problems)}
    slots.sort(key=lambda slot: order[slot.problem.problem_id])
    if noisy:
        for slot in slots:
            slot.noise_kind = choose_kind(config.noise, draw)
    _label(slots, [code for _, code in right], execute, draw)
    kept = [slot for slot in slots if slot.verdict is not None]
    count(counts, f"{split}_wrong_not_found", len(slots) - len(kept))
    if wrong and config.pairwise:
        kept = _paired(kept, split, counts)
    return [_example(slot) for slot in kept]


def _checked(
    problems: Sequence[Problem], execute: Execute, split: str, counts: Counts, wrong: bool
) -> tuple[list[tuple[Problem, str]], list[tuple[Problem, str]]]:
    """The given solutions whose verdict agrees with their label: right ones, wrong ones."""
    given = [(problem, solution) for problem in problems for solution in problem.solutions if wrong or solution.is_correct]
    verdicts = run(execute, [program(problem, solution.code) for problem, solution in given])
    right: list[tuple[Problem, str]] = []
    bad: list[tuple[Problem, str]] = []
    for (problem, solution), verdict in zip(given, verdicts, strict=True):
        if verdict.passed != solution.is_correct:
            count(counts, f"{split}_right_that_fail" if solution.is_correct else f"{split}_wrong_that_pass")
        else:
            (right if solution.is_correct else bad).append((problem, solution.code))
    count(counts, f"{split}_right_verified", len(right))
    return right, bad


def _mutant_slots(
    right: Sequence[tuple[Problem, str]], number: int, draw: random.Random, split: str, counts: Counts
) -> list[_Slot]:
    slots = []
    for problem, code in right if number else ():
        found = [mutant.code for mutant in mutants(code, draw, number * MUTANTS_TRIED)]
        parts = [found[i::number] for i in range(number)]
        slots += [_Slot(problem, part, True, "") for part in parts if part]
        count(counts, f"{split}_without_mutants", sum(not part for part in parts))
    return slots


def _label(slots: Sequence[_Slot], codes: Sequence[str], execute: Execute, draw: random.Random) -> None:
    """Add the noise and run every slot until its verdict is one that it may have, or its candidates are used up."""
    open_slots = list(slots)
    for attempt in range(max((len(slot.candidates) for slot in slots), default=0)):
        for slot in open_slots:
            slot.noised = add_noise(slot.noise_kind, slot.candidates[attempt], draw.choice(codes), draw)
        verdicts = _run_new(open_slots, execute)
        for slot, verdict in zip(open_slots, verdicts, strict=True):
            if not (slot.must_fail and verdict.passed):
                slot.verdict = verdict
        open_slots = [slot for slot in open_slots if slot.verdict is None and attempt + 1 < len(slot.candidates)]


def _run_new(slots: Sequence[_Slot], execute: Execute) -> list[Verdict]:
    """Verdicts of the slots' texts; a right solution without noise has passed already and is not run again."""
    known = Verdict("passed", 0, 0)
    fresh = [slot for slot in slots if slot.must_fail or slot.noise_kind]
    verdicts = iter(run(execute, [program(slot.problem, slot.noised.code) for slot in fresh if slot.noised is not None]))
    return [next(verdicts) if slot.must_fail or slot.noise_kind else known for slot in slots]


def _paired(slots: Sequence[_Slot], split: str, counts: Counts) -> list[_Slot]:
    """As many right as wrong solutions of each problem; those without a partner are dropped and counted."""
    partners: dict[tuple[str, bool], int] = {}
    for slot in slots:
        key = (slot.problem.problem_id, slot.must_fail)
        partners[key] = partners.get(key, 0) + 1
    kept, taken = [], dict.fromkeys(partners, 0)
    for slot in slots:
        key = (slot.problem.problem_id, slot.must_fail)
        if taken[key] < partners.get((slot.problem.problem_id, not slot.must_fail), 0):
            taken[key] += 1
            kept.append(slot)
    count(counts, f"{split}_without_partner", len(slots) - len(kept))
    return kept


def _example(slot: _Slot) -> Example:
    assert slot.noised is not None and slot.verdict is not None
    return Example(
        problem_id=slot.problem.problem_id,
        prompt=render_prompt(slot.problem),
        code=slot.noised.code,
        is_correct=slot.verdict.passed,
        noise_kind=slot.noise_kind,
        noise_spans=slot.noised.spans,
        difficulty=slot.problem.difficulty,
    )


def program(problem: Problem, code: str) -> Program:
    """The solution as a program under the problem's own limits."""
    limits = Limits(time_limit_s=problem.time_limit_s, memory_limit_bytes=problem.memory_limit_bytes)
    return Program(program_source(problem, code), problem.tests, limits)


def run(execute: Execute, programs: Sequence[Program]) -> list[Verdict]:
    """Execute, and refuse verdicts that say nothing about the program.

    Raises:
        DataError: the sandbox itself failed on a program.
    """
    verdicts = execute(programs) if programs else []
    broken = [verdict for verdict in verdicts if verdict.status == "sandbox_error"]
    if broken:
        raise DataError(f"the sandbox could not run {len(broken)} of {len(programs)} programs: {broken[0].detail}")
    return verdicts
