"""What a dataset or benchmark is: one record. `wmtp.tasksets.NAME` holds the one called NAME."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from wmtp.errors import ConfigError, EvaluationError
from wmtp.problems.files import Reader
from wmtp.problems.formats import Grades, PromptFormat
from wmtp.problems.names import defined_names, given_functions, needed_imports
from wmtp.problems.render import after_prompt, as_comment, completion_alone
from wmtp.problems.sanitize import longest_code, names_in, sanitize
from wmtp.problems.shots import NO_SHOTS, Shots
from wmtp.types import AssertTest, Checker, Limits, Problem, Program


@dataclass(frozen=True)
class TaskSet:
    """One dataset or benchmark, from its records to what counts as solved.

    Attributes:
        name: of its module, of `data.source`, of `evaluate.benchmark` and of `wmtp score NAME`.
        description: one line, for lists.
        citation: where the data and the conventions are from.
        read: one record of its files as a `Problem`.
        prompt: the text before the solution, the same for training and for evaluation.
        is_code: whether a prompt is the beginning of a program, whose functions are then the judge's where tests call them.
        assemble: the program that a completion (or a solution) makes.
        stop: strings that end a completion while it is generated; what is scored is never cut.
        has_own_limits: each problem's limits are the judge's, however wide; else the configured ones are an upper bound
            to them.
        checker: how programs' printed output is compared, see `same_output`.
        judge: for answers that are texts: problem and completion -> grades. None: answers are programs, which are run.
        has_ids: records carry ids; without, a submission may also name a task by its place in the file.
        formats: published ways to ask, by name; the first is the default, which `prompt`, `assemble` and `stop` then are.
        asked_as: the name of the format that is in use.
        max_new_tokens: how long a completion may become, as published.
        in_chat: whether the tokenizer's chat template goes around prompts.
        prefill: what a chat's answer already starts with.
        system: what a chat's system says.
        sanitizes: whether what runs is the code in the completion, see `wmtp.problems.sanitize`.
        packages: libraries that its own environment has: programs and tests are offered those of them that are installed.
        split: the split that a problem is of, where the dataset is published in one file; "" where that does not say.
        is_generated: the problems come from `wmtp.synthetic`, not from files.
        not_for_training: why it cannot be `data.source`; empty where it can.
        trusted_only: why its solutions are only learnt from as they are labelled, and nothing is made of them; empty where not.
    """

    name: str
    description: str
    citation: str
    read: Reader
    prompt: Callable[[Problem], str] = as_comment
    is_code: Callable[[Problem], bool] = lambda problem: False
    assemble: Callable[[Problem, str], str] = completion_alone
    stop: tuple[str, ...] = ()
    has_own_limits: bool = False
    checker: Checker = "codecontests"
    judge: Callable[[Problem, str], Grades] | None = None
    has_ids: bool = True
    formats: tuple[PromptFormat, ...] = ()
    asked_as: str = "plain"
    max_new_tokens: int = 512
    in_chat: bool = False
    prefill: str = ""
    system: str = ""
    sanitizes: bool = False
    split: Callable[[Problem], str] = lambda problem: ""
    packages: tuple[str, ...] = ()
    is_generated: bool = False
    not_for_training: str = ""
    trusted_only: str = ""

    def format(self, name: str | None = None) -> PromptFormat:
        """A published way to ask, by name; None for the default.

        Raises:
            ConfigError: there is none of that name.
        """
        known = self.formats or (PromptFormat(self.asked_as, self.citation, self.prompt, self.stop, self.max_new_tokens),)
        found = [form for form in known if name in (None, form.name)]
        if not found:
            raise ConfigError(f"{self.name} has no prompt format {name!r}: known are {', '.join(form.name for form in known)}")
        return found[0]

    def asked(self, form: PromptFormat, shots: Shots = NO_SHOTS) -> TaskSet:
        """The same tasks, asked in that format with these solved examples before each question."""
        return replace(
            self,
            prompt=lambda problem: form.prompt(problem, shots.of(problem)),
            assemble=form.assemble or self.assemble,
            stop=form.stop,
            judge=form.judge or self.judge,
            asked_as=form.name,
            max_new_tokens=form.max_new_tokens,
            prefill=form.prefill,
            system=form.system,
            sanitizes=form.sanitizes,
        )

    def source(self, problem: Problem, completion: str) -> str:
        """The program that a completion makes."""
        source = self.assemble(problem, completion)
        if not self.sanitizes:
            return source
        asserts = _asserts(problem)
        needed: frozenset[str] = frozenset().union(*map(names_in, asserts))
        return sanitize(source, needed) if asserts else longest_code(source)

    def reference(self, problem: Problem) -> str:
        """The first right solution as a whole program; empty where there is none."""
        whole = after_prompt if self.is_code(problem) else completion_alone
        return next((whole(problem, solution.code) for solution in problem.solutions if solution.is_correct), "")

    def limits(self, problem: Problem, bounds: Limits | None = None) -> Limits:
        """What a program for that problem may take. `bounds`: to the problem's own; None for none."""
        own = Limits(problem.time_limit_s, problem.memory_limit_bytes)
        if bounds is None:
            return own
        if self.has_own_limits:
            return replace(own, output_limit_bytes=bounds.output_limit_bytes)
        time_limit_s = min(own.time_limit_s, bounds.time_limit_s)
        return Limits(time_limit_s, min(own.memory_limit_bytes, bounds.memory_limit_bytes), bounds.output_limit_bytes)

    def program(self, problem: Problem, completion: str, limits: Limits | None = None) -> Program:
        """The whole program with every test of the problem.

        Args:
            limits: bounds to the problem's own; None for none.
        Raises:
            EvaluationError: a problem without tests.
        """
        if not problem.tests:
            raise EvaluationError(f"{problem.problem_id} has no tests: a completion of it cannot be scored")
        reference, asserts = self.reference(problem), _asserts(problem)
        return Program(
            self.source(problem, completion),
            problem.tests,
            self.limits(problem, limits),
            name=problem.problem_id,
            checker=self.checker,
            own_checker=problem.own_checker,
            testlib_checker=problem.testlib_checker,
            defines=defined_names(reference) if reference and asserts else None,
            helpers=given_functions(problem.prompt, asserts) if asserts and self.is_code(problem) else "",
            imports=needed_imports(reference, asserts) if asserts else "",
        )


def _asserts(problem: Problem) -> tuple[str, ...]:
    return tuple(test.code for test in problem.tests if isinstance(test, AssertTest))
