"""How slow this machine is: a problem's own time limit was meant for a judge's machine."""

from __future__ import annotations

from wmtp.errors import EvaluationError
from wmtp.sandbox.pool import run_tests
from wmtp.types import IOTest, Limits, Program

REFERENCE_S = 0.19
"""What `_WORK` takes on an unloaded core of an AMD EPYC server of 2024 with CPython 3.11."""

_ROUNDS = 3
_WORK = """
counts = {}
values = [(i * 7919) % 10007 for i in range(120_000)]
for value in values:
    counts[value] = counts.get(value, 0) + 1
total = 0
for i in range(1_200_000):
    total = (total + i * i) % 1_000_003
words = " ".join(map(str, sorted(values))).split()
print(total, len(counts), len(words))
"""
_TESTS = (IOTest("", "543979 10007 120000\n"),)


def machine_factor(*, allow_unsafe: bool = False) -> float:
    """Time of a fixed program in the sandbox over its time on the reference machine, at least 1: fast machines get no less
    than the limit that a problem states.

    Raises:
        EvaluationError: no isolation, or the program does not run.
    """
    limits = Limits(time_limit_s=60.0)
    programs = [Program(_WORK, _TESTS)] * _ROUNDS
    verdicts = run_tests(programs, limits=limits, num_workers=1, allow_unsafe=allow_unsafe)
    if not all(verdict.passed for verdict in verdicts):
        raise EvaluationError(f"the program that measures this machine failed: {verdicts[0]}")
    return max(1.0, min(verdict.wall_s for verdict in verdicts) / REFERENCE_S)
