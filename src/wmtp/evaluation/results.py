"""From completions to results: run or judge them, average over tasks, and write the three files of an evaluation."""

from __future__ import annotations

import csv
import functools
import gzip
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wmtp.errors import EvaluationError
from wmtp.evaluation.compare import ENDS, bootstrap_mean
from wmtp.evaluation.pass_at_k import task_scores
from wmtp.tasksets.base import Grades, TaskSet
from wmtp.types import PASSING, Limits, Problem, Program, Verdict

Submit = Callable[[Program, Callable[[Verdict], None]], None]

GREEDY = "greedy"
"""In place of a number: the one completion of a task that is no draw."""

SampleKey = tuple[str, int | str]
"""Task and sample."""


@dataclass(frozen=True)
class Answer:
    """One completion to score. `sample` is its number, or `GREEDY`.

    `finish`: `eos`, `stop` (a stop string) or `length`, where we generated it; `num_tokens` were generated for it, in
    `num_forwards` forward passes.
    """

    task_id: str
    sample: int | str
    completion: str
    finish: str = ""
    num_tokens: int = 0
    num_forwards: int = 0


@dataclass(frozen=True)
class Sample:
    """One scored answer. `grades`: what a text was also judged by; `wall_s`: how long a program ran, all tests together.

    `sanitized`: the program that ran, where it is the code that was taken out of the completion.
    """

    task_id: str
    sample: int | str
    completion: str
    verdict: str
    num_tests: int
    num_passed: int
    detail: str = ""
    finish: str = ""
    num_tokens: int = 0
    wall_s: float = 0.0
    grades: Grades = field(default_factory=dict)
    sanitized: str = ""

    @property
    def passed(self) -> bool:
        return self.verdict in PASSING

    @property
    def is_greedy(self) -> bool:
        return self.sample == GREEDY


def score_answers(
    taskset: TaskSet,
    problems: dict[str, Problem],
    answers: Sequence[Answer],
    submit: Submit,
    limits: Limits | None,
    on_samples: Callable[[Sequence[Sample]], None],
) -> None:
    """Judge every answer, or have its program run.

    Args:
        submit: has a program run, and its verdict handed over.
        limits: upper bounds to the problems' own; None for none.
        on_samples: gets the scored answers as they come: texts at once and in order, those that are run from any thread.
    Raises:
        EvaluationError: an answer to an unknown task, a task without tests, or a program that the sandbox cannot run.
    """
    for answer in answers:
        if answer.task_id not in problems:
            raise EvaluationError(f"{taskset.name} has no task {answer.task_id!r}")
    if taskset.judge is not None:
        judged = [taskset.judge(problems[answer.task_id], answer.completion) for answer in answers]
        on_samples([_sample(answer, _verdict(grades), grades) for answer, grades in zip(answers, judged, strict=True)])
        return

    def when_run(answer: Answer, sanitized: str) -> Callable[[Verdict], None]:
        grade = functools.partial(_base_grade, problems[answer.task_id])
        return lambda verdict: on_samples([_sample(answer, verdict, grade(verdict), sanitized)])

    for answer in answers:
        program = taskset.program(problems[answer.task_id], answer.completion, limits)
        submit(program, when_run(answer, program.source if taskset.sanitizes else ""))


def _base_grade(problem: Problem, verdict: Verdict) -> Grades:
    """Whether the tests passed that a benchmark had before others were added, where a problem has such."""
    number = problem.num_base_tests
    return {} if number is None else {"base": verdict.passed or verdict.num_passed >= number}


def _verdict(grades: Grades) -> Verdict:
    """A text answer's grades in the form that programs have."""
    passed = grades["passed"]
    return Verdict("passed" if passed else "wrong_answer", 1, int(passed))


def _sample(answer: Answer, verdict: Verdict, grades: Grades, sanitized: str = "") -> Sample:
    more = {name: value for name, value in grades.items() if name != "passed"}
    return Sample(
        task_id=answer.task_id,
        sample=answer.sample,
        completion=answer.completion,
        finish=answer.finish,
        num_tokens=answer.num_tokens,
        verdict=verdict.status,
        num_tests=verdict.num_tests,
        num_passed=verdict.num_passed,
        detail=verdict.detail,
        wall_s=round(verdict.wall_s, 4),
        grades=more,
        sanitized=sanitized,
    )


@dataclass(frozen=True)
class TaskResult:
    """One line of per_task.csv; `greedy_correct` is None where no greedy completion was made, `difficulty` where unknown."""

    task_id: str
    difficulty: int | None
    num_samples: int
    num_correct: int
    greedy_correct: bool | None


def task_results(problems: Sequence[Problem], samples: Sequence[Sample]) -> list[TaskResult]:
    """Every task's counts, in the problems' order.

    Raises:
        EvaluationError: a task without samples, or a task or sample that is there twice: nothing is left out in silence.
    """
    by_task: dict[str, list[Sample]] = {problem.problem_id: [] for problem in problems}
    if len(by_task) != len(problems):
        raise EvaluationError("two tasks have the same id")
    seen: set[SampleKey] = set()
    for sample in samples:
        if (sample.task_id, sample.sample) in seen:
            raise EvaluationError(f"{sample.task_id}: sample {sample.sample} was scored twice")
        seen.add((sample.task_id, sample.sample))
        by_task[sample.task_id].append(sample)
    missing = [task for task, scored in by_task.items() if all(sample.is_greedy for sample in scored)]
    if missing:
        raise EvaluationError(f"{len(missing)} of {len(problems)} tasks were not scored, the first is {missing[0]}")
    results = []
    for problem in problems:
        drawn = [sample for sample in by_task[problem.problem_id] if not sample.is_greedy]
        greedy = [sample.passed for sample in by_task[problem.problem_id] if sample.is_greedy]
        num_correct = sum(sample.passed for sample in drawn)
        results.append(
            TaskResult(problem.problem_id, problem.difficulty, len(drawn), num_correct, greedy[0] if greedy else None)
        )
    return results


def summarise(
    results: Sequence[TaskResult], samples: Sequence[Sample], *, k: Sequence[int], num_bootstrap: int, seed: int
) -> dict[str, Any]:
    """pass@k with intervals over tasks, greedy pass@1, verdict counts and scores by difficulty."""
    numbers, correct = [task.num_samples for task in results], [task.num_correct for task in results]
    if max(k) > min(numbers):
        raise EvaluationError(f"pass@{max(k)} needs that many samples of every task, and one has {min(numbers)}")
    summary: dict[str, Any] = {"num_tasks": len(results), "num_samples": min(numbers)}
    for each in k:
        summary |= _mean_with_interval(f"pass@{each}", task_scores(numbers, correct, each), num_bootstrap, seed)
    if all(task.greedy_correct is not None for task in results):
        greedy_T = np.array([float(bool(task.greedy_correct)) for task in results])
        summary |= _mean_with_interval("greedy_pass@1", greedy_T, num_bootstrap, seed)
    drawn = [sample for sample in samples if not sample.is_greedy]
    for name in sorted({name for sample in drawn for name in sample.grades}):
        by_task = {task.task_id: 0 for task in results}
        for sample in drawn:
            by_task[sample.task_id] += sample.grades.get(name, sample.passed)
        for each in k:
            scores = task_scores(numbers, by_task.values(), each)
            summary |= _mean_with_interval(f"{name}_pass@{each}", scores, num_bootstrap, seed)
    summary["verdicts"] = dict(sorted(Counter(sample.verdict for sample in drawn).items()))
    summary["greedy_verdicts"] = dict(sorted(Counter(s.verdict for s in samples if s.is_greedy).items()))
    summary["finishes"] = dict(sorted(Counter(sample.finish for sample in drawn if sample.finish).items()))
    summary["by_difficulty"] = _by_difficulty(results)
    return summary


def _mean_with_interval(name: str, scores_T: np.ndarray, num_bootstrap: int, seed: int) -> dict[str, float]:
    interval = bootstrap_mean(scores_T, ends=ENDS, num_bootstrap=num_bootstrap, seed=seed)
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _by_difficulty(results: Sequence[TaskResult]) -> dict[str, dict[str, Any]]:
    groups: dict[int | None, list[TaskResult]] = {}
    for task in results:
        groups.setdefault(task.difficulty, []).append(task)
    table: dict[str, dict[str, Any]] = {}
    for difficulty, tasks in sorted(groups.items(), key=lambda group: (group[0] is None, group[0] or 0)):
        scores = task_scores([task.num_samples for task in tasks], [task.num_correct for task in tasks], 1)
        row = table.setdefault(_level(difficulty), {"num_tasks": len(tasks), "pass@1": float(scores.mean())})
        if all(task.greedy_correct is not None for task in tasks):
            row["greedy_pass@1"] = sum(bool(task.greedy_correct) for task in tasks) / len(tasks)
    return table


def _level(difficulty: int | None) -> str:
    return "unknown" if difficulty is None else str(difficulty)


RESULT_FILES = ("metrics.json", "per_task.csv", "samples.jsonl.gz")
"""All that an evaluation writes."""


def write_results(folder: Path, metrics: dict[str, Any], results: Sequence[TaskResult], samples: Sequence[Sample]) -> None:
    """metrics.json, per_task.csv and samples.jsonl.gz; the last two depend on the completions alone, times apart."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(metrics, indent=1, sort_keys=True, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    with (folder / "per_task.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["task_id", "difficulty", "num_samples", "num_correct", "greedy_correct"])
        for task in results:
            greedy = "" if task.greedy_correct is None else int(task.greedy_correct)
            writer.writerow([task.task_id, _level(task.difficulty), task.num_samples, task.num_correct, greedy])
    lines = "".join(json.dumps(asdict(sample), sort_keys=True) + "\n" for sample in samples)
    (folder / "samples.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
