"""Untrusted programs against tests, in the sandbox."""

from __future__ import annotations

import os
from collections.abc import Sequence

from wmtp.checks import require_several
from wmtp.sandbox.machine import machine_factor
from wmtp.sandbox.pool import run_tests
from wmtp.types import Limits, Program, Verdict


def score_programs(
    programs: Sequence[Program], *, limits: Limits | None = None, num_workers: int | None = None
) -> list[Verdict]:
    """Run every program against its tests, up to its first failure.

    Args:
        limits: for programs that bring none of their own; time limits are stretched by how slow this machine is.
        num_workers: sandboxes at work at the same time; one for each core by default.
    Returns:
        one verdict per program, in order; `verdict.passed` says whether all tests passed.
    Raises:
        EvaluationError: this machine has no isolation to run them in (`wmtp doctor` says what is missing).
    """
    require_several(programs, "programs", Program)
    workers = num_workers or len(os.sched_getaffinity(0))
    return run_tests(programs, limits=limits or Limits(), num_workers=workers, time_factor=machine_factor())
