"""open-r1/codeforces (Penedo et al. 2025): Codeforces' problems with official tests, and their own checkers."""

from __future__ import annotations

from wmtp.errors import DataError
from wmtp.problems.records import Notes, Record, known_rating, take, take_or_null, unix_newlines
from wmtp.tasksets.base import TaskSet
from wmtp.types import IOTest, Problem

_SECTIONS = (("input_format", "Input"), ("output_format", "Output"), ("interaction_format", "Interaction"), ("note", "Note"))


def to_problem(record: Record, where: str, notes: Notes) -> Problem:
    """Official tests, or the examples where there are none. No tests: what cannot be run is not, and is noted.

    That is a problem with interaction, and one whose programs read and write files. Limits are in seconds and megabytes.
    """
    parts = [unix_newlines(take(record, where, "description", str)).strip()]
    for name, title in _SECTIONS:
        text = unix_newlines(take_or_null(record, where, name, str, "", notes)).strip()
        parts += [f"{title}\n{text}"] if text else []
    shown = _tests(record, where, "examples", notes)
    parts += [f"Example input\n{test.stdin.strip()}\nExample output\n{test.stdout.strip()}" for test in shown]
    seconds = take_or_null(record, where, "time_limit", (int, float), 0, notes)
    megabytes = take_or_null(record, where, "memory_limit", (int, float), 0, notes)
    problem_id = f"codeforces/{take(record, where, 'id', str)}"
    return Problem(
        problem_id=problem_id,
        prompt="\n\n".join(parts),
        tests=_to_run(record, where, notes, shown, problem_id),
        difficulty=known_rating(record, where, "rating", notes),
        time_limit_s=float(seconds or 2.0),
        memory_limit_bytes=int((megabytes or 256) * 2**20),
        own_checker=take_or_null(record, where, "generated_checker", str, "", notes),
    )


def _to_run(record: Record, where: str, notes: Notes, shown: tuple[IOTest, ...], problem_id: str) -> tuple[IOTest, ...]:
    is_interactive = bool(take_or_null(record, where, "interaction_format", str, "", notes).strip())
    uses_files = take_or_null(record, where, "input_mode", str, "stdio", notes) != "stdio"
    for reason, holds in (("interactive", is_interactive), ("input_from_a_file", uses_files)):
        if holds:
            notes.cannot_run(problem_id, reason)
            return ()
    return _tests(record, where, "official_tests", notes) or shown


def _tests(record: Record, where: str, name: str, notes: Notes) -> tuple[IOTest, ...]:
    tests = []
    for i, item in enumerate(take_or_null(record, where, name, list, [], notes)):
        if not isinstance(item, dict):
            raise DataError(f"{where}: {name}[{i}] must hold input and output")
        here = f"{where}: {name}[{i}]"
        tests.append(IOTest(take(item, here, "input", str), take(item, here, "output", str)))
    return tuple(tests)


TASKSET = TaskSet(
    name="codeforces",
    description="open-r1/codeforces: competitive programs with official tests, judged by the problems' own checkers",
    citation="Penedo et al. 2025, huggingface.co/datasets/open-r1/codeforces",
    read=to_problem,
    has_own_limits=True,
    packages=("numpy",),
    not_for_training="it has no solutions",
)
