"""Labelled solutions: right ones checked, wrong ones made or checked, noise added, and every final text run for its label.

Programs are run by `execute`, which the caller supplies; it is called with large batches, because sandboxes like those.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from wmtp import tasksets
from wmtp.config.schema import DataConfig
from wmtp.errors import DataError
from wmtp.examples.mutate import mutants
from wmtp.examples.noise import Noised, add_noise, choose_kind
from wmtp.problems.files import Counts, count
from wmtp.problems.render import Example
from wmtp.tasksets.base import TaskSet
from wmtp.types import Problem, Program, Verdict

Execute = Callable[[Sequence[Program]], list[Verdict]]

MUTANTS_TRIED = 12
"""Mutants tried for each wrong solution before it is given up as not to be had."""


@dataclass
class _Slot:
    """One example in the making: its candidate codes (a right one, or mutants to try in turn) and its noise.

    `proven`: the candidate has passed already and need not run again as long as no noise comes on top.
    """

    problem: Problem
    candidates: Iterator[str]
    must_fail: bool
    proven: bool = False
    noise_kind: str = ""
    noised: Noised | None = None
    verdict: Verdict | None = None

    def accepts(self, verdict: Verdict) -> bool:
        """Wrong must fail, clean right must pass; noise may turn right into wrong."""
        return not verdict.passed if self.must_fail else verdict.passed or self.noise_kind != ""


def make_examples(
    problems: Sequence[Problem], config: DataConfig, execute: Execute, *, split: str, noisy: bool, wrong: bool, counts: Counts
) -> list[Example]:
    """Right and (where `wrong`) wrong solutions of the problems, with noise where `noisy`, labelled by running them.

    A problem's right solutions must pass and its wrong ones fail all tests, or they are dropped and counted. Each right
    one gets `config.mutants_per_solution` wrong ones made by mutation. Noise comes on top and may turn right into wrong:
    the label is what the final text does. Solutions from a file run before mutants are made of them; the generator's are
    right by construction and run once, in their final form.

    Args:
        problems: with the solutions to use.
        split: prefix of the counts, and part of the seed.
        noisy: add noise to the configured share.
    """
    draw = random.Random(f"labels {config.seed} {split}")
    right = [(problem, solution.code) for problem in problems for solution in problem.solutions if solution.is_correct]
    wrong_given: list[tuple[Problem, str]] = []
    taskset = tasksets.get(config.source)
    from_file = not taskset.is_generated
    if from_file:
        right, wrong_given = _checked(taskset, problems, execute, split, counts, wrong)
    slots = [_Slot(problem, iter([code]), False, proven=from_file) for problem, code in right]
    if wrong:
        slots += [_Slot(problem, iter([code]), True) for problem, code in wrong_given]
        slots += _mutant_slots(right, config.mutants_per_solution, f"{config.seed} {split}")
    order = {problem.problem_id: i for i, problem in enumerate(problems)}
    slots.sort(key=lambda slot: order[slot.problem.problem_id])
    if noisy:
        for slot in slots:
            slot.noise_kind = choose_kind(config.noise, draw)
    _label(taskset, slots, right, execute, draw)
    kept = [slot for slot in slots if slot.verdict is not None]
    count(counts, f"{split}_right_that_fail", sum(not slot.must_fail for slot in slots) - sum(not s.must_fail for s in kept))
    count(counts, f"{split}_wrong_not_found", sum(slot.must_fail for slot in slots) - sum(s.must_fail for s in kept))
    if not kept:
        raise DataError(f"{split}: none of the {len(problems)} problems has a solution that passes its tests")
    if wrong and config.pairwise:
        kept = _paired(kept, split, counts)
    return [_example(taskset, slot) for slot in kept]


def _checked(
    taskset: TaskSet, problems: Sequence[Problem], execute: Execute, split: str, counts: Counts, wrong: bool
) -> tuple[list[tuple[Problem, str]], list[tuple[Problem, str]]]:
    """The given solutions whose verdict agrees with their label: right ones, wrong ones."""
    given = [(problem, solution) for problem in problems for solution in problem.solutions if wrong or solution.is_correct]
    verdicts = run(execute, [taskset.program(problem, solution.code) for problem, solution in given])
    right: list[tuple[Problem, str]] = []
    bad: list[tuple[Problem, str]] = []
    for (problem, solution), verdict in zip(given, verdicts, strict=True):
        if verdict.passed != solution.is_correct:
            count(counts, f"{split}_right_that_fail" if solution.is_correct else f"{split}_wrong_that_pass")
        else:
            (right if solution.is_correct else bad).append((problem, solution.code))
    return right, bad


def _mutant_slots(right: Sequence[tuple[Problem, str]], number: int, seed: str) -> list[_Slot]:
    """`number` wrong solutions to find for each right one; they share its mutants, so that no two are the same."""
    slots = []
    for i, (problem, code) in enumerate(right if number else ()):
        made = mutants(code, random.Random(f"mutants {seed} {i}"))
        candidates = (mutant.code for mutant in islice(made, number * MUTANTS_TRIED))
        slots += [_Slot(problem, candidates, True) for _ in range(number)]
    return slots


def _label(
    taskset: TaskSet, slots: Sequence[_Slot], right: Sequence[tuple[Problem, str]], execute: Execute, draw: random.Random
) -> None:
    """Add the noise and run every slot until its verdict is one that it may have, or its candidates are used up."""
    waiting = list(slots)
    while waiting:
        proposed = []
        for slot in waiting:
            code = next(slot.candidates, None)
            if code is not None:
                slot.noised = add_noise(slot.noise_kind, code, _other(slot.problem, right, draw), draw)
                proposed.append(slot)
        for slot, verdict in zip(proposed, _run_new(taskset, proposed, execute), strict=True):
            if slot.accepts(verdict):
                slot.verdict = verdict
        waiting = [slot for slot in proposed if slot.verdict is None]


def _other(problem: Problem, right: Sequence[tuple[Problem, str]], draw: random.Random) -> str:
    """A right solution of another problem (of the same one only where there is no other)."""
    for _ in range(100):
        other, code = draw.choice(right)
        if other.problem_id != problem.problem_id:
            break
    return code


def _run_new(taskset: TaskSet, slots: Sequence[_Slot], execute: Execute) -> list[Verdict]:
    """Verdicts of the slots' texts."""
    known = [slot.proven and not slot.noise_kind for slot in slots]
    texts = [(slot.problem, slot.noised.code) for slot, skip in zip(slots, known, strict=True) if slot.noised and not skip]
    verdicts = iter(run(execute, [taskset.program(problem, code) for problem, code in texts]))
    return [Verdict("passed", 0, 0) if skip else next(verdicts) for skip in known]


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


def _example(taskset: TaskSet, slot: _Slot) -> Example:
    assert slot.noised is not None and slot.verdict is not None
    return Example(
        problem_id=slot.problem.problem_id,
        prompt=taskset.prompt(slot.problem),
        code=slot.noised.code,
        is_correct=slot.verdict.passed,
        noise_kind=slot.noise_kind,
        noise_spans=slot.noised.spans,
        difficulty=slot.problem.difficulty,
    )


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
