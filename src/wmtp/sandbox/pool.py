"""Untrusted Python programs, run where they can do no harm and judged where they cannot cheat.

A few warm interpreters live inside namespaces (bubblewrap, or util-linux's unshare) and fork for every test; see
`guest/sandbox_server.py`. Expected outputs stay on this side.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from wmtp.sandbox.isolation import isolation
from wmtp.sandbox.packages import Package
from wmtp.sandbox.worker import Worker
from wmtp.types import Limits, Program, Verdict

__all__ = ["isolation", "run_tests"]


def run_tests(
    programs: Sequence[Program],
    *,
    limits: Limits,
    num_workers: int,
    allow_unsafe: bool = False,
    time_factor: float = 1.0,
    packages: Sequence[Package] = (),
    on_verdict: Callable[[int, Verdict], None] | None = None,
) -> list[Verdict]:
    """Run every program against its tests, stopping at its first failure.

    Args:
        limits: for programs that bring none of their own.
        num_workers: sandboxes at work at the same time.
        allow_unsafe: run without isolation where none can be had.
        time_factor: for every time limit, see `machine.machine_factor`.
        packages: what programs and tests can import beside the standard library.
        on_verdict: called from worker threads, one at a time, as verdicts come in.
    Returns:
        one verdict per program, in order.
    Raises:
        EvaluationError: no isolation, or a program that the sandbox could not run after retries.
    """
    mode = isolation(allow_unsafe=allow_unsafe)
    verdicts: list[Verdict | None] = [None] * len(programs)
    numbers, lock, failures = iter(range(len(programs))), threading.Lock(), list[Exception]()

    def work(core: int | None) -> None:
        if core is not None:  # of this thread, and of all that it starts
            os.sched_setaffinity(0, {core})
        worker = Worker(mode, packages)
        try:
            while not failures:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                own = programs[number].limits or limits
                scaled = replace(own, time_limit_s=own.time_limit_s * time_factor)
                verdict = worker.run_with_retries(replace(programs[number], limits=scaled))
                verdicts[number] = verdict
                with lock:
                    if on_verdict is not None:
                        on_verdict(number, verdict)
        except Exception as error:
            failures.append(error)
        finally:
            worker.close()

    cores = _cores(max(1, min(num_workers, len(programs))))
    threads = [threading.Thread(target=work, args=(core,), daemon=True) for core in cores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [verdict for verdict in verdicts if verdict is not None]


def _cores(num_workers: int) -> list[int | None]:
    """The core of each worker, where there is a worker for each core anyway: its processes wake each other all the time."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not cores or num_workers < len(cores):
        return [None] * num_workers
    return [cores[number % len(cores)] for number in range(num_workers)]
