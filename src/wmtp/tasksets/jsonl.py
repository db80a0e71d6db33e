"""Problems in wmtp's own schema, one JSON object a line: the way to bring your own data."""

from __future__ import annotations

from wmtp.problems.files import Counts, problem_from_record
from wmtp.problems.records import Record
from wmtp.types import Problem


def to_problem(record: Record, where: str, counts: Counts | None = None) -> Problem:
    """`{"problem_id", "prompt", "tests": [{"stdin", "stdout"} | {"code"}], "difficulty", "time_limit_s",
    "memory_limit_bytes", "solutions": [{"code", "is_correct"}]}`; the last four may be left out."""
    return problem_from_record(record, where)
