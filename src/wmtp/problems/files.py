"""Problems in their one form: read from records of any kind, written to and read from JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from wmtp.checks import closest
from wmtp.errors import DataError
from wmtp.files import whole_file
from wmtp.problems.records import Notes, Record, known_rating, place_of, read_rows, take, take_or_null, take_strings
from wmtp.types import AssertTest, IOTest, Problem, Solution, Test

Made = TypeVar("Made")

Reader = Callable[[Record, str, Notes], Problem]
"""A record, `where` it stands (for errors) and where to note what it does not take as it is -> a problem."""

MAX_DIFFICULTY = 2**31 - 1
MAX_TIME_LIMIT_S = 86_400.0
MAX_MEMORY_LIMIT_BYTES = 2**50
"""Beyond, a limit is a mistake, and no kernel takes it."""


@dataclass
class Reading:
    """What is known of a source beside its problems, when it has been read: `notes`, and rows that are no problems.

    `max_bad_frac`: share of the rows that may be so; `bad_rows`: why each is none, with file and row, of `num_rows` in all.
    `needs_tests`: a problem without tests is no use here. `most_rows`: only the first so many are read.
    """

    max_bad_frac: float = 0.0
    needs_tests: bool = False
    most_rows: int | None = None
    notes: Notes = field(default_factory=Notes)
    bad_rows: list[str] = field(default_factory=list)
    num_rows: int = 0

    def check(self, name: str) -> None:
        """Raises DataError: more bad rows than may be."""
        if len(self.bad_rows) > self.max_bad_frac * self.num_rows:
            allowed = f"{len(self.bad_rows)} of {self.num_rows} rows are no problems, more than {self.max_bad_frac:.2%}"
            raise DataError(f"{name}: {allowed}; the first: {self.bad_rows[0]}")


def parse_problems(path_or_hub_id: str, read: Reader, reading: Reading | None = None) -> Iterator[Problem]:
    """Every record of a file, folder or hub dataset as `read` understands it, in order, one in memory at a time.

    Args:
        reading: is filled; without it the first bad row is an error.
    Raises:
        DataError: a broken record, a duplicate id, a value that no program can be run with, more bad rows than may be; names
            file, line and field.
    """
    reading = Reading() if reading is None else reading
    seen: dict[str, str] = {}

    def make(record: Record, where: str) -> Problem:
        problem = _without_blanks(read(record, where, reading.notes), reading.notes)
        _require_usable(problem, where)
        if reading.needs_tests and not problem.tests and problem.problem_id not in reading.notes.not_run:
            raise DataError(f"{where}: {problem.problem_id} has no tests, and validation and test cannot do without")
        if problem.problem_id in seen:
            raise DataError(f"{where}: duplicate id {problem.problem_id!r}, first seen at {seen[problem.problem_id]}")
        seen[problem.problem_id] = where
        file, row = place_of(where)
        return replace(problem, file=file, row=row)

    yield from parse_rows(path_or_hub_id, make, reading)


def parse_rows(path_or_hub_id: str, make: Callable[[Record, str], Made], reading: Reading) -> Iterator[Made]:
    """What `make` makes of every record and of where it stands, in order, one in memory at a time; `reading` is filled.

    Raises:
        DataError: a row that is broken, or that `make` refuses, where none may be so, or more of them than may be.
    """
    number = 0
    for where, record in islice(read_rows(path_or_hub_id), reading.most_rows):
        number += 1
        try:
            if isinstance(record, DataError):
                raise record
            made = make(record, where)
        except DataError as error:
            if not reading.max_bad_frac:
                raise
            reading.bad_rows.append(str(error))
            continue
        yield made
    reading.num_rows = number
    reading.check(path_or_hub_id)


def _without_blanks(problem: Problem, notes: Notes) -> Problem:
    """Without the solutions that hold no text, which are noted; the others stand where they stood."""
    blank = sum(not solution.code.strip() for solution in problem.solutions)
    if not blank:
        return problem
    notes.left_out["blank_solution"] += blank
    placed = (replace(each, place=each.place or f"solutions[{i}]") for i, each in enumerate(problem.solutions))
    return replace(problem, solutions=tuple(each for each in placed if each.code.strip()))


def _require_usable(problem: Problem, where: str) -> None:
    """No value in it ends a run that has begun.

    Raises:
        DataError: names the first that would.
    """
    if not 0 < problem.time_limit_s <= MAX_TIME_LIMIT_S:
        allowed = f"a positive number of seconds, at most {MAX_TIME_LIMIT_S:g}"
        raise DataError(f"{where}: the time limit must be {allowed}, not {problem.time_limit_s}")
    if not 0 < problem.memory_limit_bytes <= MAX_MEMORY_LIMIT_BYTES:
        allowed = "a positive number of bytes, at most 2**50"
        raise DataError(f"{where}: the memory limit must be {allowed}, not {problem.memory_limit_bytes}")
    if problem.difficulty is not None and not 0 <= problem.difficulty <= MAX_DIFFICULTY:
        raise DataError(f"{where}: the difficulty must be in [0, {MAX_DIFFICULTY}], not {problem.difficulty}")
    texts = {
        "the id": problem.problem_id,
        "the prompt": problem.prompt,
        "the checker": problem.own_checker + problem.testlib_checker,
    }
    if problem.own_checker and problem.testlib_checker:
        raise DataError(f"{where}: a problem has own_checker (in Python) or testlib_checker (in C++), not both")
    if len({type(test) for test in problem.tests}) > 1:
        raise DataError(f"{where}: a problem has tests on standard input or asserts, not both")
    texts["the code to start with"] = problem.starter
    texts |= {f"tests[{i}]": "".join(vars(test).values()) for i, test in enumerate(problem.tests)}
    texts |= {f"solutions[{i}]": solution.code for i, solution in enumerate(problem.solutions)}
    for name, text in texts.items():
        require_text(text, where, name)


def require_text(text: str, where: str, name: str) -> None:
    """Raises DataError: it holds half of a surrogate pair, which nothing can write or read."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: {name} holds {text[error.start]!r}, half of a character, which is no text") from None


def write_problems(path: Path, problems: Iterable[Problem]) -> int:
    """One JSON object a line, whole or not at all; returns how many."""
    number = 0
    with whole_file(path) as sink:
        for problem in problems:
            sink.write(json.dumps(record_of(problem), ensure_ascii=True) + "\n")
            number += 1
    return number


def read_problems(path: Path) -> list[Problem]:
    """What `write_problems` wrote.

    Raises:
        DataError: missing file, broken line, missing or mistyped field, duplicate id.
    """
    return list(parse_problems(str(path), problem_from_record))


def record_of(problem: Problem) -> dict[str, Any]:
    """The object of the problem's line; `problem_from_record` is the way back."""
    record = {
        "problem_id": problem.problem_id,
        "prompt": problem.prompt,
        "tests": [vars(test) for test in problem.tests],
        **({} if problem.difficulty is None else {"difficulty": problem.difficulty}),
        "time_limit_s": problem.time_limit_s,
        "memory_limit_bytes": problem.memory_limit_bytes,
        "solutions": [{"code": solution.code, "is_correct": solution.is_correct} for solution in problem.solutions],
    }
    record |= {"asserts": list(problem.asserts)} if problem.asserts else {}
    record |= {} if problem.num_base_tests is None else {"num_base_tests": problem.num_base_tests}
    return record | {
        name: getattr(problem, name) for name in ("own_checker", "testlib_checker", "starter") if getattr(problem, name)
    }


_FIELDS = frozenset(one.name for one in fields(Problem) if one.compare)
"""Of a record: a problem's own, without those that say where it was read."""
_MISTYPED = 0.8
"""How alike a field's name is to one that is missing, of 1, where it is taken for it."""


@cache
def _meant(name: str) -> str | None:
    """Which field a name is a mistyping of; asked of every record, and the names are few."""
    return closest(name, _FIELDS, cutoff=_MISTYPED)


def is_written(record: Record) -> bool:
    """Whether `write_problems` wrote it, or a person in its format, and no publisher of a benchmark."""
    return record.keys() >= {"problem_id", "prompt", "tests"}


def problem_from_record(record: Record, where: str, notes: Notes) -> Problem:
    """The inverse of `write_problems` for one line; tests are {"stdin", "stdout"} or {"code"}.

    Further fields are the user's own, but none that is a mistyped one of these.
    """
    for name in sorted(record.keys() - _FIELDS):
        if (meant := _meant(name)) is not None and meant not in record:
            raise DataError(f"{where}: unknown field {name!r}: did you mean {meant}?")
    return Problem(
        problem_id=take(record, where, "problem_id", str),
        prompt=take(record, where, "prompt", str),
        tests=tuple(_test(test, f"{where}: tests[{i}]") for i, test in enumerate(take(record, where, "tests", list))),
        difficulty=known_rating(record, where, "difficulty", notes),
        time_limit_s=_seconds(take_or_null(record, where, "time_limit_s", (int, float), 4.0, notes)),
        memory_limit_bytes=take_or_null(record, where, "memory_limit_bytes", int, 512 * 2**20, notes),
        solutions=tuple(
            _solution(item, f"{where}: solutions[{i}]")
            for i, item in enumerate(take_or_null(record, where, "solutions", list, [], notes))
        ),
        asserts=tuple(take_strings(record, where, "asserts", [])),
        num_base_tests=take(record, where, "num_base_tests", int, None),
        own_checker=take(record, where, "own_checker", str, ""),
        testlib_checker=take(record, where, "testlib_checker", str, ""),
        starter=take(record, where, "starter", str, ""),
    )


def _seconds(number: int | float) -> float:
    return math.inf if abs(number) >= 2**63 else float(number)


def _test(record: Any, where: str) -> Test:
    if not isinstance(record, dict):
        raise DataError(f"{where} must be an object with stdin and stdout, or with code")
    if "code" in record:
        return AssertTest(take(record, where, "code", str))
    return IOTest(take(record, where, "stdin", str), take(record, where, "stdout", str))


def _solution(record: Any, where: str) -> Solution:
    if not isinstance(record, dict):
        raise DataError(f"{where} must be an object with code and is_correct")
    return Solution(take(record, where, "code", str), take(record, where, "is_correct", bool))
