"""What a dataset or benchmark is: one record. `wmtp.tasksets.NAME` holds the one called NAME."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wmtp.errors import EvaluationError
from wmtp.problems.files import Reader
from wmtp.problems.render import as_comment, completion_alone
from wmtp.types import Checker, Limits, Problem, Program

Grades = dict[str, bool]
"""What a text answer is judged by, by name; `passed` is the one that counts."""


@dataclass(frozen=True)
class TaskSet:
    """One dataset or benchmark, from its records to what counts as solved.

    Attributes:
        name: of its module, of `data.source`, of `evaluate.benchmark` and of `wmtp score NAME`.
        description: one line, for lists.
        citation: where the data and the conventions are from.
        read: one record of its files as a `Problem`.
        prompt: the text before the solution, the same for training and for evaluation.
        assemble: the program that a completion (or a solution) makes.
        stop: strings that end a completion while it is generated; what is scored is never cut.
        has_own_limits: each problem's limits are the judge's, however wide; else the configured ones are an upper bound
            to them.
        checker: how programs' printed output is compared, see `same_output`.
        judge: for answers that are texts: problem and completion -> grades. None: answers are programs, which are run.
        has_ids: records carry ids; without, a submission may also name a task by its place in the file.
        is_generated: the problems come from `wmtp.synthetic`, not from files.
        not_for_training: why it cannot be `data.source`; empty where it can.
    """

    name: str
    description: str
    citation: str
    read: Reader
    prompt: Callable[[Problem], str] = as_comment
    assemble: Callable[[Problem, str], str] = completion_alone
    stop: tuple[str, ...] = ()
    has_own_limits: bool = False
    checker: Checker = "codecontests"
    judge: Callable[[Problem, str], Grades] | None = None
    has_ids: bool = True
    is_generated: bool = False
    not_for_training: str = ""

    def program(self, problem: Problem, completion: str, limits: Limits | None = None) -> Program:
        """The whole program with every test of the problem.

        Args:
            limits: bounds to the problem's own; None for none.
        Raises:
            EvaluationError: a problem without tests.
        """
        if not problem.tests:
            raise EvaluationError(f"{problem.problem_id} has no tests: a completion of it cannot be scored")
        own = Limits(problem.time_limit_s, problem.memory_limit_bytes)
        if limits is not None:
            time_limit_s, memory_limit_bytes = own.time_limit_s, own.memory_limit_bytes
            if not self.has_own_limits:
                time_limit_s = min(time_limit_s, limits.time_limit_s)
                memory_limit_bytes = min(memory_limit_bytes, limits.memory_limit_bytes)
            own = Limits(time_limit_s, memory_limit_bytes, limits.output_limit_bytes)
        return Program(self.assemble(problem, completion), problem.tests, own, name=problem.problem_id, checker=self.checker)
