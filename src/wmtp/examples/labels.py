"""Labelled solutions: right ones checked, wrong ones made or checked, noise added, and every final text run for its label.

Programs are run by `execute`, which the caller supplies; it is called with large batches, because sandboxes like those.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from wmtp import tasksets
from wmtp.config.data import DataConfig, NoiseConfig
from wmtp.errors import DataError
from wmtp.examples.given import RIGHT_THAT_FAIL, WRONG_THAT_PASS, LabelCheck, Settled, Text, Verify, settle
from wmtp.examples.mutate import mutants
from wmtp.examples.noise import MISMATCHED, Noised, add_noise, choose_kind
from wmtp.ledger import Account, Line
from wmtp.problems.draw import key_of
from wmtp.problems.render import Example, History
from wmtp.tasksets.base import TaskSet
from wmtp.types import Limits, Problem, Program, Solution, Verdict

Execute = Callable[[Sequence[Program]], list[Verdict]]

MUTANTS_TRIED = 12
"""Mutants tried for each wrong solution before it is given up as not to be had."""

Origin = Literal["right", "wrong", "mutant"]
"""Where a draft's text comes from: a solution that is given as right or as wrong, or an edit of a right one."""

ORIGINS: tuple[Origin, ...] = ("right", "wrong", "mutant")
"""The order of one problem's examples."""

UNPROVEN: dict[Origin, str] = {"right": RIGHT_THAT_FAIL, "wrong": WRONG_THAT_PASS, "mutant": "mutants_not_found"}
"""The reason for which a draft is dropped that never got a verdict it may have."""


@dataclass(frozen=True)
class Attempt:
    """A text that a draft may become. `edit`, `text_of`: see `History`; `verdict`: what it did, None where it did not run."""

    noised: Noised
    edit: str
    text_of: str
    verdict: Verdict | None = None


@dataclass
class Draft:
    """One example in the making: its candidate texts (a given one, or mutants to try in turn, each with the kind of the edit
    that made it), its noise and its label.

    `draw`: of its noise, by what it is made of alone. `solution`: the given one, or the one that mutants are made of.
    `is_settled`: the given text's label holds as it stands (`verdict` says why, if it ran), and it need not run where no noise
    comes on top.
    """

    problem: Problem
    solution: Solution
    origin: Origin
    candidates: Iterator[tuple[str, str]]
    draw: random.Random
    is_settled: bool = False
    verdict: Verdict | None = None
    noise_kind: str = ""
    attempt: Attempt | None = None
    is_correct: bool | None = None

    @property
    def must_fail(self) -> bool:
        return self.origin != "right"

    @property
    def is_known(self) -> bool:
        """Whether its label is known without a run."""
        return self.is_settled and not self.noise_kind

    def accepts(self, verdict: Verdict) -> bool:
        """Wrong must fail, clean right must pass; noise may turn right into wrong.

        A mutant runs where its original has passed, so its surroundings are not to blame; the two ways of looking may disagree.
        """
        if not self.must_fail:
            return verdict.passed or self.noise_kind != ""
        return not verdict.passed and verdict.status != "suspicious"


def make_examples(
    problems: Sequence[Problem],
    config: DataConfig,
    execute: Execute,
    *,
    table: str,
    noisy: bool,
    wrong: bool,
    account: Account,
) -> tuple[list[Example], LabelCheck]:
    """Right and (where `wrong`) wrong solutions of the problems, with noise where `noisy`, labelled by running them.

    What is made of a solution, its noise and its mutants, depends on itself and the seed, and not on the others.

    A problem's right solutions must pass and its wrong ones fail, or they are dropped and counted. Each right one gets
    `config.mutants_per_solution` wrong ones made by mutation. Noise comes on top and may turn right into wrong: the label
    is what the final text does. Solutions from a file run before mutants are made of them; the generator's are right by
    construction and run once, in their final form.

    Args:
        problems: with the solutions to use.
        table: the name of the examples' table, part of the seed.
        noisy: add noise to the configured share.
        account: told what is read, made and dropped; the caller says what it keeps of the examples.
    Returns:
        the examples, and how the check of the given labels went (nothing to check where solutions are generated).
    Raises:
        DataError: no problem has a solution that passes its tests, or the sandbox itself failed.
    """
    taskset = tasksets.get(config.source)

    def verify(texts: Sequence[Text]) -> list[Verdict]:
        programs = [taskset.program(problem, text) for problem, text in texts]
        return _run(execute, [_for_labels(program, config) for program in programs])

    given = [(problem, solution) for problem in problems for solution in problem.solutions]
    used = [(problem, solution) for problem, solution in given if wrong or solution.is_correct]
    account.read(len(problems), len(given))
    account.thinned("wrong_not_used", [p.problem_id for p, _ in given], [p.problem_id for p, _ in used])
    if config.is_generated:
        settled, check = [Settled(problem, solution) for problem, solution in used], LabelCheck()
    else:
        settled, check = settle(used, config, verify, account.solutions, table)
    right = [each for each in settled if each.solution.is_correct]
    seed = f"{config.seed} {table}"
    drafts = [_given_draft(each, seed, is_settled=not config.is_generated) for each in settled]
    if wrong:
        drafts += _mutant_drafts(right, config.mutants_per_solution, seed, account.solutions)
    _arrange(drafts, problems, config.noise if noisy else None)
    if right:
        _label(drafts, Others(right), verify, late=config.mutants == "late")
    labelled = [draft for draft in drafts if draft.is_correct is not None]
    if not labelled:
        raise DataError(f"{table}: none of the {len(problems)} problems has a solution that passes its tests")
    _count_unproven(drafts, account.solutions)
    lost = {problem.problem_id for problem, _ in used} - {draft.problem.problem_id for draft in labelled}
    account.problems.drop("without_proven_solution", len(lost))
    return [_example(taskset, draft) for draft in labelled], check


def _arrange(drafts: list[Draft], problems: Sequence[Problem], noise: NoiseConfig | None) -> None:
    """In the problems' order, each problem's by origin, with a kind of noise where there is any."""
    place = {problem.problem_id: i for i, problem in enumerate(problems)}
    drafts.sort(key=lambda draft: (place[draft.problem.problem_id], ORIGINS.index(draft.origin)))
    if noise is not None:
        for draft in drafts:
            draft.noise_kind = choose_kind(noise, draft.draw)


def _given_draft(given: Settled, seed: str, *, is_settled: bool) -> Draft:
    problem, solution = given.problem, given.solution
    origin: Origin = "right" if solution.is_correct else "wrong"
    draw = _draw_of(problem, solution, f"{origin} {seed}")
    return Draft(problem, solution, origin, iter([(solution.code, "")]), draw, is_settled, given.verdict)


def _draw_of(problem: Problem, solution: Solution, seed: str) -> random.Random:
    """Of what is made of a solution, whichever others there are."""
    return random.Random(f"{seed} {key_of(problem.problem_id, solution.code)}")


def _count_unproven(drafts: Sequence[Draft], solutions: Line) -> None:
    for origin, reason in UNPROVEN.items():
        solutions.drop(reason, sum(draft.origin == origin and draft.is_correct is None for draft in drafts))


def _for_labels(program: Program, config: DataConfig) -> Program:
    """Limits with room: who exceeds those is too slow or too large on any machine. At most `max_tests` tests, in their order;
    which ones depends on the problem alone, so that another seed of the data does not run everything again."""
    own, tests = program.limits or Limits(), program.tests
    margin, most = config.limit_margin, config.max_tests or len(tests)
    wide = replace(own, time_limit_s=own.time_limit_s * margin, memory_limit_bytes=int(own.memory_limit_bytes * margin))
    if len(tests) > most:
        chosen = random.Random(f"tests of {program.name}").sample(range(len(tests)), most)
        tests = tuple(tests[i] for i in sorted(chosen))
    return replace(program, limits=wide, tests=tests)


def _mutant_drafts(right: Sequence[Settled], number: int, seed: str, solutions: Line) -> list[Draft]:
    """`number` wrong solutions to find for each right one; they share its mutants, so that no two are the same."""
    drafts = []
    for problem, solution, _ in right if number else ():
        made = mutants(solution.code, _draw_of(problem, solution, f"mutants {seed}"))
        candidates = ((mutant.code, mutant.kind) for mutant in islice(made, number * MUTANTS_TRIED))
        for i in range(number):
            drafts.append(Draft(problem, solution, "mutant", candidates, _draw_of(problem, solution, f"mutant {i} {seed}")))
    solutions.make("mutants_wanted", len(drafts))
    return drafts


def _label(drafts: Sequence[Draft], others: Others, verify: Verify, *, late: bool) -> None:
    """Add the noise and run every draft until its label is one that it may have, or its candidates are used up.

    `late`: a mutant that fails its first test is only taken where no other one is found.
    """
    early: dict[int, Attempt] = {}
    waiting = list(drafts)
    while waiting:
        proposed = []
        for draft in waiting:
            candidate = next(draft.candidates, None)
            if candidate is not None:
                draft.attempt = _attempt(draft, *candidate, others)
                proposed.append(draft)
            elif id(draft) in early:
                draft.attempt, draft.is_correct = early[id(draft)], False
        for draft in proposed:
            if draft.is_known:
                draft.is_correct = not draft.must_fail
        to_run = [draft for draft in proposed if not draft.is_known]
        for draft, verdict in zip(to_run, _verdicts(to_run, verify), strict=True):
            assert draft.attempt is not None
            draft.attempt = replace(draft.attempt, verdict=verdict)
            if late and draft.origin == "mutant" and verdict.num_passed == 0 and draft.accepts(verdict):
                early.setdefault(id(draft), draft.attempt)
            elif draft.accepts(verdict):
                draft.is_correct = verdict.passed
        waiting = [draft for draft in proposed if draft.is_correct is None]


def _attempt(draft: Draft, text: str, edit: str, others: Others) -> Attempt:
    """The draft's next text, with its noise."""
    if draft.noise_kind != MISMATCHED:
        return Attempt(add_noise(draft.noise_kind, text, "", draft.draw), edit, "", draft.verdict)
    other = others.of(draft.problem, draft.draw)
    noised = add_noise(MISMATCHED, text, other.solution.code, draft.draw)
    return Attempt(noised, edit, other.problem.problem_id, draft.verdict)


class Others:
    """Right solutions to put in another one's place. They stand in a ring by their keys, so that one more or one less
    is noticed by its neighbours alone."""

    def __init__(self, right: Sequence[Settled]) -> None:
        keyed = sorted(
            ((key_of(each.problem.problem_id, each.solution.code), each) for each in right), key=lambda pair: pair[0]
        )
        self._keys, self._right = [key for key, _ in keyed], [each for _, each in keyed]

    def of(self, problem: Problem, draw: random.Random) -> Settled:
        """One of another problem (of the same one only where there is no other)."""
        start, number = bisect.bisect_left(self._keys, draw.getrandbits(64)), len(self._right)
        ring = (self._right[(start + i) % number] for i in range(number))
        return next((each for each in ring if each.problem.problem_id != problem.problem_id), self._right[start % number])


def _verdicts(drafts: Sequence[Draft], verify: Verify) -> list[Verdict]:
    """What the drafts' texts do."""
    return verify([(draft.problem, draft.attempt.noised.code) for draft in drafts if draft.attempt is not None])


def _example(taskset: TaskSet, draft: Draft) -> Example:
    assert draft.attempt is not None and draft.is_correct is not None
    problem, noised, verdict = draft.problem, draft.attempt.noised, draft.attempt.verdict
    return Example(
        problem_id=problem.problem_id,
        prompt=taskset.prompt(problem),
        code=noised.code,
        is_correct=draft.is_correct,
        noise_kind=draft.noise_kind,
        noise_spans=noised.spans,
        difficulty=problem.difficulty,
        history=History(
            file=problem.file,
            row=problem.row,
            solution=draft.solution.place,
            language=draft.solution.language,
            origin=draft.origin,
            edit=draft.attempt.edit,
            text_of=draft.attempt.text_of,
            status=verdict.status if verdict is not None else "",
            num_passed=verdict.num_passed if verdict is not None else -1,
        ),
    )


def _run(execute: Execute, programs: Sequence[Program]) -> list[Verdict]:
    """Execute, and refuse verdicts that say nothing about the program.

    Raises:
        DataError: the sandbox itself failed on a program.
    """
    verdicts = execute(programs) if programs else []
    broken = [verdict for verdict in verdicts if verdict.status == "sandbox_error"]
    if broken:
        raise DataError(f"the sandbox could not run {len(broken)} of {len(programs)} programs: {broken[0].detail}")
    return verdicts
