"""Untrusted Python programs, run where they can do no harm and judged where they cannot cheat.

A few warm interpreters live inside namespaces (bubblewrap, or util-linux's unshare) and fork for every test; see
`guest/sandbox_server.py`. Expected outputs stay on this side.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType

from wmtp.sandbox.isolation import isolation
from wmtp.sandbox.packages import Package
from wmtp.sandbox.testlib import Checkers, Toolchain
from wmtp.sandbox.worker import Worker
from wmtp.types import Limits, Program, Verdict

__all__ = ["Pool", "isolation", "run_tests"]

OnVerdict = Callable[[Verdict], None]


class Pool:
    """Sandboxes that take programs from one queue until the block ends; each is started when there is work for it.

    Args:
        limits: for programs that bring none of their own.
        num_workers: sandboxes at work at the same time.
        allow_unsafe: run without isolation where none can be had.
        time_factor: for every time limit, see `machine.machine_factor`.
        packages: what programs and tests can import beside the standard library.
        testlib: what compiles checkers in C++, where programs have such.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        num_workers: int,
        allow_unsafe: bool = False,
        time_factor: float = 1.0,
        packages: Sequence[Package] = (),
        testlib: Toolchain | None = None,
    ) -> None:
        self._limits, self._time_factor, self._packages = limits, time_factor, packages
        self._checkers = Checkers(testlib, allow_unsafe=allow_unsafe, time_factor=time_factor) if testlib else None
        self._allow_unsafe = allow_unsafe
        self._cores = _cores(max(1, num_workers))
        self._waiting: queue.SimpleQueue[tuple[Program, OnVerdict] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._workers: list[Worker] = []
        self._changed = threading.Condition()
        self._num_unfinished = 0
        self._failure: BaseException | None = None

    def submit(self, program: Program, on_verdict: OnVerdict) -> None:
        """Have it run against its tests, up to its first failure. `on_verdict`: called from any thread, one call at a time.

        Raises:
            EvaluationError: no isolation, or a program before this one that the sandbox could not run after retries.
            BaseException: what an `on_verdict` raised.
        """
        mode = isolation(allow_unsafe=self._allow_unsafe)
        with self._changed:
            if self._failure is not None:
                raise self._failure
            self._num_unfinished += 1
            if len(self._threads) < min(len(self._cores), self._num_unfinished):
                core = self._cores[len(self._threads)]
                thread = threading.Thread(target=self._work, args=(mode, core), daemon=True)
                self._threads.append(thread)
                thread.start()
        self._waiting.put((program, on_verdict))

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Wait for every verdict; after an error nothing is waited for, and what still runs is ended.

        Raises:
            As `submit` does.
        """
        with self._changed:
            self._failure = self._failure or error
            self._changed.wait_for(lambda: self._num_unfinished == 0 or self._failure is not None)
            for worker in self._workers if self._failure is not None else ():
                worker.stop()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def _work(self, mode: str, core: int | None) -> None:
        """One thread, one sandbox."""
        worker: Worker | None = None
        try:
            if core is not None:  # of this thread, and of all that it starts
                os.sched_setaffinity(0, {core})
            compiled = self._checkers.compiled if self._checkers else None
            worker = Worker(mode, self._packages, time_factor=self._time_factor, compiled=compiled)
            with self._changed:
                self._workers.append(worker)
            while (work := self._waiting.get()) is not None and self._failure is None:
                verdict = worker.run_with_retries(self._scaled(work[0]))
                with self._changed:
                    if self._failure is None:
                        work[1](verdict)
                    self._num_unfinished -= 1
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._failure = self._failure or error
                self._changed.notify_all()
        finally:
            if worker is not None:
                worker.close()

    def _scaled(self, program: Program) -> Program:
        limits = program.limits or self._limits
        return replace(program, limits=replace(limits, time_limit_s=limits.time_limit_s * self._time_factor))


def run_tests(
    programs: Sequence[Program],
    *,
    limits: Limits,
    num_workers: int,
    allow_unsafe: bool = False,
    time_factor: float = 1.0,
    packages: Sequence[Package] = (),
    testlib: Toolchain | None = None,
    on_verdict: Callable[[int, Verdict], None] | None = None,
) -> list[Verdict]:
    """Run every program against its tests, in a `Pool` of its own.

    Args:
        on_verdict: called from worker threads, one at a time, as verdicts come in, with the program's place.
    Returns:
        one verdict per program, in order.
    Raises:
        EvaluationError: no isolation, or a program that the sandbox could not run after retries.
    """
    verdicts: dict[int, Verdict] = {}

    def note(number: int) -> OnVerdict:
        def keep(verdict: Verdict) -> None:
            verdicts[number] = verdict
            if on_verdict is not None:
                on_verdict(number, verdict)

        return keep

    pool = Pool(
        limits=limits,
        num_workers=max(1, min(num_workers, len(programs))),
        allow_unsafe=allow_unsafe,
        time_factor=time_factor,
        packages=packages,
        testlib=testlib,
    )
    with pool:
        for number, program in enumerate(programs):
            pool.submit(program, note(number))
    return [verdicts[number] for number in range(len(programs))]


def _cores(num_workers: int) -> list[int | None]:
    """The core of each worker, where there is a worker for each core anyway: its processes wake each other all the time."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not cores or num_workers < len(cores):
        return [None] * num_workers
    return [cores[number % len(cores)] for number in range(num_workers)]
