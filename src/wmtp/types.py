"""Plain records shared by every layer. No imports from wmtp, no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

IGNORE_INDEX = -100
"""Label of prompt and padding tokens; also torch's own default."""

VerdictStatus = Literal[
    "passed",
    "wrong_answer",
    "runtime_error",
    "timeout",
    "memory_limit",
    "output_limit",
    "compile_error",
    "sandbox_error",
    "unverified",
    "suspicious",
]
"""The last two: the tests pass in the program's own process, and from outside it could not be seen, or was not so."""
PASSING: tuple[VerdictStatus, ...] = ("passed", "unverified")


Checker = Literal["codecontests", "exact_integers", "exact", "lines", "apps", "taco"]
"""How printed and expected output are compared, see `wmtp.sandbox.checker`."""


@dataclass(frozen=True)
class IOTest:
    """Run the program with `stdin`; it passes if it prints `stdout`, as the program's checker compares them."""

    stdin: str
    stdout: str


@dataclass(frozen=True)
class AssertTest:
    """Statements run after the program in its namespace; they pass by running to their end."""

    code: str


Test = IOTest | AssertTest


@dataclass(frozen=True)
class Limits:
    """Bounds of one run of a program: for one standard input test, or for all assert tests together.

    Time is what the program works or sleeps, not what it waits for a core; memory is what it uses, not what it reserves.
    """

    time_limit_s: float = 4.0
    memory_limit_bytes: int = 512 * 2**20
    output_limit_bytes: int = 2**20


@dataclass(frozen=True)
class Program:
    """One candidate program and all tests that it must pass.

    `name`: what errors call it (a task's id). `checker`: for standard input tests. `defines`: all names that a right program
    defines; a test that asks for any other is broken, and no program's fault. None: a test may ask for any. `helpers`: code of
    the judge's that the tests use, whatever the program calls so; `imports`: likewise, but a program has to have its own.
    `own_checker`: a problem's own program in place of `checker`, in Python; `testlib_checker`: the same in C++, made with
    testlib; see `wmtp.sandbox.own_checker`.
    """

    source: str
    tests: tuple[Test, ...]
    limits: Limits | None = None
    name: str = ""
    checker: Checker = "codecontests"
    defines: tuple[str, ...] | None = None
    helpers: str = ""
    imports: str = ""
    own_checker: str = ""
    testlib_checker: str = ""


@dataclass(frozen=True)
class Verdict:
    """What happened to one `Program`: the first failure decides `status`."""

    status: VerdictStatus
    num_tests: int
    num_passed: int
    wall_s: float = 0.0
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.status in PASSING


@dataclass(frozen=True)
class Solution:
    """One solution text of a problem, with the label that its tests gave it.

    `place`: where in its record it stands, such as `solutions[3]`; `language`: what the dataset says it is written in, "" where
    that does not say. Neither is a part of what it is.
    """

    code: str
    is_correct: bool
    place: str = field(default="", compare=False)
    language: str = field(default="", compare=False)


@dataclass(frozen=True)
class Problem:
    """One programming (or question-answering) problem in the one form that every dataset is read into.

    `asserts`: tests as a prompt may show them, each as it stands in its record. `num_base_tests`: how many tests, the first,
    are those of a benchmark that the others were added to; None where it is not so. `own_checker`: a Python program that
    judges what is printed, where more than one output is right; `testlib_checker`: the same in C++, made with testlib; a
    problem has one at most. `starter`: code that a solution starts with, beside the prompt.
    `difficulty`: as the dataset counts, rising; None where it is unknown, which is not easy. `file` and `row`: where it was
    read, as errors name it (lines from 1, rows of tables from 0); no part of what it is.
    """

    problem_id: str
    prompt: str
    tests: tuple[Test, ...]
    difficulty: int | None = None
    time_limit_s: float = 4.0
    memory_limit_bytes: int = 512 * 2**20
    solutions: tuple[Solution, ...] = ()
    asserts: tuple[str, ...] = ()
    num_base_tests: int | None = None
    own_checker: str = ""
    testlib_checker: str = ""
    starter: str = ""
    file: str = field(default="", compare=False, repr=False)
    row: int = field(default=-1, compare=False, repr=False)


@dataclass(frozen=True)
class StageResult:
    """What a stage hands back: scalar metrics (logged and printed) and counts of what was dropped or changed."""

    metrics: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
