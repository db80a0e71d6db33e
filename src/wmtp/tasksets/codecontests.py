"""CodeContests (Li et al. 2022, arXiv 2203.07814): stdin/stdout problems with right and wrong solutions."""

from __future__ import annotations

from typing import Any

from wmtp.errors import DataError
from wmtp.problems.published import codecontests_plus
from wmtp.problems.records import Notes, Record, known_rating, take, take_or_null, take_strings, unix_newlines
from wmtp.tasksets.base import TaskSet
from wmtp.types import IOTest, Problem, Solution, Test

_NULLABLE = (str, int, type(None))
PYTHON_3 = "python3"
LANGUAGES = {1: "python2", 2: "cpp", 3: PYTHON_3, 4: "java", "PYTHON": "python2", "PYTHON2": "python2", "PYTHON3": PYTHON_3}
"""What the dataset's numbers stand for, and names in place of them that are not those used here; 0 is unknown."""


def to_problem(record: Record, where: str, notes: Notes) -> Problem:
    """Public, private and generated tests; Python 3 solutions; `cf_rating` as difficulty where it is known.

    A problem whose programs read or write files has no tests, because none can be run, and is noted.
    """
    if codecontests_plus.is_plus(record):
        return codecontests_plus.to_problem(record, where, notes)
    problem_id = f"codecontests/{_name(record, where, notes)}"
    tests: list[Test] = []
    for name in ("public_tests", "private_tests", "generated_tests"):
        tests += _tests(record, where, name, notes)
    if any(take_or_null(record, where, name, str, "", notes).strip() for name in ("input_file", "output_file")):
        notes.cannot_run(problem_id, "input_or_output_in_a_file")
        tests = []
    solutions = _solutions(record, where, "solutions", True, notes)
    solutions += _solutions(record, where, "incorrect_solutions", False, notes)
    return Problem(
        problem_id=problem_id,
        prompt=unix_newlines(take(record, where, "description", str)).strip(),
        tests=tuple(tests),
        difficulty=_rating(record, where, notes),
        time_limit_s=_time_limit_s(record, where, notes),
        memory_limit_bytes=take_or_null(record, where, "memory_limit_bytes", int, 0, notes) or 256 * 2**20,
        solutions=tuple(solutions),
    )


def _rating(record: Record, where: str, notes: Notes) -> int | None:
    """The dataset has 0 where there is none."""
    rating = known_rating(record, where, "cf_rating", notes)
    if rating == 0:
        notes.unknown["zero_cf_rating"] += 1
    return rating or None


def _name(record: Record, where: str, notes: Notes) -> str:
    """The problem's; where two sources have problems of one name, the source says which is meant."""
    name, source = take(record, where, "name", str), str(record.get("source", ""))
    return name if notes.names.setdefault(name, source) == source else f"{name} ({source})"


def _time_limit_s(record: Record, where: str, notes: Notes) -> float:
    limit = record.get("time_limit", {})
    if limit is None:
        notes.unknown["null_time_limit"] += 1
        return 4.0
    if not isinstance(limit, dict):
        raise DataError(f"{where}: field 'time_limit' must hold seconds and nanos")
    seconds = (
        take(limit, f"{where}: time_limit", "seconds", int, 0) + take(limit, f"{where}: time_limit", "nanos", int, 0) * 1e-9
    )
    return seconds or 4.0


def _columns(record: Record, where: str, name: str, keys: tuple[str, str], notes: Notes) -> tuple[str, dict[str, Any]]:
    """The two parallel lists of a nested field; a list of pairs (as some exports have it) is turned around."""
    value = take_or_null(record, where, name, (dict, list), {}, notes)
    if isinstance(value, list):
        value = {key: [take(item, f"{where}: {name}[{i}]", key, _NULLABLE) for i, item in enumerate(value)] for key in keys}
    value = value or {key: [] for key in keys}
    lengths = [len(take(value, f"{where}: {name}", key, list)) for key in keys]
    if lengths[0] != lengths[1]:
        raise DataError(f"{where}: field {name!r} has {lengths[0]} {keys[0]} but {lengths[1]} {keys[1]}")
    return f"{where}: {name}", value


def _tests(record: Record, where: str, name: str, notes: Notes) -> list[Test]:
    where, columns = _columns(record, where, name, ("input", "output"), notes)
    pairs = zip(take_strings(columns, where, "input"), take_strings(columns, where, "output"), strict=True)
    return [IOTest(stdin, stdout) for stdin, stdout in pairs]


def _solutions(record: Record, where: str, name: str, is_correct: bool, notes: Notes) -> list[Solution]:
    where, columns = _columns(record, where, name, ("language", "solution"), notes)
    kept = []
    for i, given in enumerate(columns["language"]):
        code, language = columns["solution"][i], LANGUAGES.get(given, given) if isinstance(given, int | str) else None
        if language != PYTHON_3:
            notes.other_language(language)
        elif code is None:
            notes.left_out["null_solution"] += 1
        elif isinstance(code, str):
            kept.append(Solution(unix_newlines(code).strip("\n"), is_correct, f"{name}[{i}]", PYTHON_3))
        else:
            raise DataError(f"{where}: field 'solution'[{i}] must be str, found {type(code).__name__}")
    return kept


TASKSET = TaskSet(
    name="codecontests",
    description="CodeContests: competitive programs on standard input, with right and wrong solutions",
    citation="Li et al. 2022, arXiv 2203.07814",
    read=to_problem,
    has_own_limits=True,
    packages=("numpy",),
)
