"""One evaluation run: answers are scored as they come and kept in a journal, so that a killed run goes on where it was.

The `evaluate` stage, `wmtp evaluate` and `wmtp score` differ in where the answers come from and in what else they report.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wmtp.errors import ConfigError, DataError
from wmtp.evaluation.results import Answer, Sample, SampleKey, TaskResult, score_answers, summarise, task_results
from wmtp.files import Journal, read_journal
from wmtp.progress import SECONDS_BETWEEN_LOOKS
from wmtp.sandbox.machine import machine_factor
from wmtp.sandbox.offer import offered_packages
from wmtp.sandbox.packages import Package
from wmtp.sandbox.pool import Pool, isolation
from wmtp.sandbox.testlib import Toolchain, find_testlib
from wmtp.tasksets.base import TaskSet
from wmtp.types import Limits, Problem


@dataclass(frozen=True)
class Scoring:
    """What is made of scored samples. `limit`: only the first tasks, which every result then names."""

    k: tuple[int, ...] = (1,)
    limit: int | None = None
    num_bootstrap: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Execution:
    """How programs are run on this machine. `isolation` is empty where answers are texts and nothing is run.

    `limits`: upper bounds to the problems' own, where those are not a judge's; None for none. `time_factor`: for every time
    limit; `packages`: what programs and tests can import; `testlib`: what compiles checkers in C++, where tasks have such.
    """

    limits: Limits | None
    num_workers: int
    allow_unsafe: bool
    isolation: str
    time_factor: float
    packages: tuple[Package, ...] = ()
    testlib: Toolchain | None = None

    @classmethod
    def prepare(
        cls,
        taskset: TaskSet,
        problems: Sequence[Problem],
        *,
        limits: Limits | None,
        num_workers: int,
        allow_unsafe: bool,
        packages: Sequence[str] | None = None,
        testlib: Path | None = None,
    ) -> Execution:
        """Find the isolation, and measure the machine: a benchmark's limits were meant for its judge's.

        Args:
            packages: to offer to programs; None for the benchmark's own.
            testlib: path of testlib.h, for checkers in C++.
        Raises:
            EvaluationError: programs are to be run and there is no isolation.
            ConfigError: packages that cannot be offered, or to nobody; checkers in C++ that cannot be compiled.
        """
        how, factor, offered, toolchain = "", 1.0, tuple[Package, ...](), None
        if taskset.judge is None:
            how = isolation(allow_unsafe=allow_unsafe)
            offered = offered_packages(packages, taskset.packages, allow_unsafe=allow_unsafe)
            toolchain = find_testlib(testlib, problems, allow_unsafe=allow_unsafe)
            factor = machine_factor()
        elif packages:
            raise ConfigError(f"{taskset.name} has answers that are texts: there is no program to offer {packages[0]} to")
        elif testlib is not None:
            raise ConfigError(f"{taskset.name} has answers that are texts: there is no checker for {testlib} to be part of")
        return cls(limits, num_workers, allow_unsafe, how, factor, offered, toolchain)

    def pool(self) -> Pool:
        """Sandboxes for one run."""
        return Pool(
            limits=self.limits or Limits(),
            num_workers=self.num_workers,
            allow_unsafe=self.allow_unsafe,
            time_factor=self.time_factor,
            packages=self.packages,
            testlib=self.testlib,
        )

    def as_dict(self) -> dict[str, Any]:
        """As metrics.json has it."""
        how: dict[str, Any] = {
            "allow_unsafe": self.allow_unsafe,
            "isolation": self.isolation,
            "machine_factor": self.time_factor,
        }
        how |= {"packages": {package.name: package.version for package in self.packages}}
        return how | ({} if self.testlib is None else {"testlib": self.testlib.as_dict()})

    def limits_of(self, taskset: TaskSet, problems: Sequence[Problem]) -> dict[str, dict[str, float]]:
        """The least and the most that a program may take, before the machine's factor; nothing where nothing is run."""
        each = [asdict(taskset.limits(problem, self.limits)) for problem in problems if taskset.judge is None]
        names = each[0] if each else ()
        return {name: {"least": min(one[name] for one in each), "most": max(one[name] for one in each)} for name in names}


class SampleJournal:
    """The scored samples of one run, of all its attempts and ranks: every attempt of every rank adds a file to the folder.

    Args:
        folder: of nothing else; whose samples it holds (of which tasks, model and limits) its name must tell.
        writer: number of the process (the rank).
    """

    def __init__(self, folder: Path, writer: int = 0) -> None:
        records = [record for path in sorted(folder.glob("samples-*.jsonl")) for record in read_journal(path)]
        self.samples: dict[SampleKey, Sample] = {(sample.task_id, sample.sample): sample for sample in map(_sample, records)}
        self._path = folder / f"samples-{writer}-{time.time_ns()}.jsonl"
        self._file: Journal | None = None

    def append(self, samples: Sequence[Sample]) -> None:
        """Keep them, and outlive a kill."""
        self.samples |= {(sample.task_id, sample.sample): sample for sample in samples}
        if self._file is None:
            self._file = Journal(self._path)
        self._file.append(*map(asdict, samples))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> SampleJournal:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _sample(record: dict[str, Any]) -> Sample:
    return Sample(**record)


@dataclass
class Effort:
    """What a process's part of a run took. `resumed_samples` came from a journal."""

    generated_tokens: int = 0
    forwards: int = 0
    generation_s: float = 0.0
    execution_s: float = 0.0
    resumed_samples: int = 0

    @property
    def tokens_per_s(self) -> float:
        return self.generated_tokens / max(1e-9, self.generation_s)


class Run:
    """The tasks of one process, and what is known of them."""

    def __init__(self, taskset: TaskSet, problems: Sequence[Problem], execution: Execution, journal: SampleJournal) -> None:
        self.taskset, self.execution, self.journal = taskset, execution, journal
        self.problems = {problem.problem_id: problem for problem in problems}
        self.samples = {key: sample for key, sample in journal.samples.items() if key[0] in self.problems}
        self.effort = Effort(resumed_samples=len(self.samples))
        self.progress = float(len(self.samples))
        """Completions that are scored, with what is made of those at work; never less than it was."""
        self._told, self._lock = 0.0, threading.Lock()
        self._tell: Callable[[Run], None] = lambda run: None

    def unfinished(self, samples: Sequence[int | str]) -> list[Problem]:
        """Tasks of which not all of `samples` are scored yet, in order."""
        return [
            problem for task, problem in self.problems.items() if not all((task, sample) in self.samples for sample in samples)
        ]

    @property
    def going_on(self) -> dict[str, Any]:
        """How `Completer.answers` is asked for the rest: none that is scored, and telling how far those at work are."""
        return {"done": frozenset(self.samples), "on_pass": self.note_pass}

    def note_pass(self, made: float) -> None:
        """While answers are made, how much of those at work is: an `OnPass`."""
        with self._lock:
            self.progress = max(self.progress, len(self.samples) + made)
            if time.monotonic() - self._told > SECONDS_BETWEEN_LOOKS:
                self._told = time.monotonic()
                self._tell(self)

    def score(self, batches: Iterable[Sequence[Answer]], on_progress: Callable[[Run], None] = lambda run: None) -> None:
        """Score every answer that is not scored yet. Making the batches is timed as generation.

        Programs run while further batches are made, in one pool, and are in the journal as soon as they have a verdict.
        `on_progress` is called after that, and of `note_pass`, from any thread, one call at a time.

        Raises:
            EvaluationError: see `score_answers`.
        """

        def keep(samples: Sequence[Sample]) -> None:
            self.journal.append(samples)
            with self._lock:
                self.samples |= {(sample.task_id, sample.sample): sample for sample in samples}
                self.progress = max(self.progress, float(len(self.samples)))
                on_progress(self)

        self._tell, taken = on_progress, set(self.samples)
        since = time.monotonic()
        with self.execution.pool() as pool:
            for batch in batches:
                made = time.monotonic()
                self.effort.generation_s += made - since
                self.effort.generated_tokens += sum(answer.num_tokens for answer in batch)
                self.effort.forwards += sum(answer.num_forwards for answer in batch)
                fresh = [answer for answer in batch if (answer.task_id, answer.sample) not in taken]
                taken |= {(answer.task_id, answer.sample) for answer in fresh}
                score_answers(self.taskset, self.problems, fresh, pool.submit, self.execution.limits, keep)
                since = time.monotonic()
                self.effort.execution_s += since - made
        self.effort.execution_s += time.monotonic() - since


def tasks_to_score(problems: Sequence[Problem], path: Path | str, limit: int | None) -> list[Problem]:
    """The first `limit` problems.

    Raises:
        DataError: there is none, or one has no tests and cannot be scored.
    """
    if not problems:
        raise DataError(f"{path} holds no tasks")
    tasks = list(problems[:limit])
    without = [problem.problem_id for problem in tasks if not problem.tests]
    if without:
        raise DataError(f"{path}: {without[0]} (and {len(without) - 1} more) have no tests and cannot be scored")
    return tasks


def in_order(problems: Sequence[Problem], samples: Iterable[Sample]) -> list[Sample]:
    """By task and sample, greedy first, whichever process and batch they came from."""
    place = {problem.problem_id: i for i, problem in enumerate(problems)}
    return sorted(samples, key=lambda one: (place[one.task_id], -1 if one.is_greedy else int(one.sample)))


def measure(
    taskset: TaskSet, problems: Sequence[Problem], samples: Sequence[Sample], scoring: Scoring, execution: Execution
) -> tuple[dict[str, Any], list[TaskResult]]:
    """What every evaluation reports of its samples, and the tasks' results.

    Raises:
        EvaluationError: a task that was not scored, or not often enough for `k`.
    """
    results = task_results(problems, samples)
    k = sorted({1, *scoring.k})
    summary = summarise(results, samples, k=k, num_bootstrap=scoring.num_bootstrap, seed=scoring.seed)
    named = {"benchmark": taskset.name, "limit": scoring.limit}
    sandbox = execution.as_dict() | {"limits": execution.limits_of(taskset, problems)}
    return {**named, **summary, "sandbox": sandbox}, results


def effort_metrics(parts: Sequence[Effort], wall_s: float) -> dict[str, Any]:
    """Over all processes: tokens per second of the processes together, times of the slowest."""
    slowest = max(part.generation_s for part in parts)
    tokens, forwards = sum(part.generated_tokens for part in parts), sum(part.forwards for part in parts)
    return {
        "tokens": tokens,
        "tokens_per_s": tokens / slowest if slowest else 0.0,
        "tokens_per_forward": tokens / forwards if forwards else 0.0,
        "generation_s": slowest,
        "execution_s": max(part.execution_s for part in parts),
        "resumed_samples": sum(part.resumed_samples for part in parts),
        "wall_s": wall_s,
        "world_size": len(parts),
    }
