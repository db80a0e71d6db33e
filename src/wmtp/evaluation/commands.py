"""`wmtp score` and `wmtp evaluate`: an evaluation outside of the pipeline, with the pipeline's own parts."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from wmtp import tasksets
from wmtp.errors import EvaluationError
from wmtp.evaluation.results import RESULT_FILES, Answer, Sample, write_results
from wmtp.evaluation.run import (
    Execution,
    Run,
    SampleJournal,
    Scoring,
    effort_metrics,
    in_order,
    measure,
    tasks_to_score,
)
from wmtp.evaluation.submissions import read_answers, require_all
from wmtp.files import temporary_sibling
from wmtp.tasksets.base import TaskSet
from wmtp.types import Limits, Problem

if TYPE_CHECKING:
    from wmtp.evaluation.generate import Decoding

CHUNK = 64
"""Completions of a submission between two entries of the journal: what a killed run has to do again at most."""


def score(
    name: str, data: str, submission: Path, out: Path, scoring: Scoring, *, num_workers: int, allow_unsafe: bool
) -> dict[str, Any]:
    """Score a submission and write `out`: metrics.json, per_task.csv, samples.jsonl.gz (in the submission's order).

    Goes on where a killed run of the same submission stopped. Returns what metrics.json holds.

    Raises:
        DataError, EvaluationError: broken input, tasks that were not answered, no isolation; nothing is written then.
    """
    _require_ours(out)
    taskset, problems = _tasks(name, data, scoring.limit)
    answers = read_answers(submission, taskset, problems)
    require_all(taskset, problems, answers, max(scoring.k))
    execution = Execution.prepare(taskset, limits=Limits(), num_workers=num_workers, allow_unsafe=allow_unsafe)
    partial = _partial(out, taskset.name, execution.limits, problems, answers)
    with SampleJournal(partial) as journal:
        run = Run(taskset, problems, execution, journal)
        waiting = [answer for answer in answers if (answer.task_id, answer.sample) not in run.samples]
        _follow(run, (waiting[start : start + CHUNK] for start in range(0, len(waiting), CHUNK)), len(answers))
    samples = [run.samples[answer.task_id, answer.sample] for answer in answers]
    return _publish(out, partial, run, samples, scoring, {})


def evaluate(
    name: str,
    data: str,
    model: str,
    out: Path,
    scoring: Scoring,
    decoding: Decoding,
    *,
    num_workers: int,
    allow_unsafe: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Complete a benchmark with a causal language model (a folder or a hub id), score it and write `out` as `score` does.

    Goes on where a killed run of the same model, tasks and decoding stopped.

    Raises:
        DataError, EvaluationError: broken input, no model, no isolation; nothing is written then.
    """
    import torch

    from wmtp.evaluation.completer import Completer

    started = time.monotonic()
    _require_ours(out)
    taskset, problems = _tasks(name, data, scoring.limit)
    execution = Execution.prepare(taskset, limits=Limits(), num_workers=num_workers, allow_unsafe=allow_unsafe)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    completer = Completer.load(model, device)
    how = {key: value for key, value in asdict(decoding).items() if key not in ("batch_size", "num_drafts")}
    partial = _partial(out, taskset.name, execution.limits, problems, completer.fingerprint(), how)
    with SampleJournal(partial) as journal:
        run = Run(taskset, problems, execution, journal)
        waiting = run.unfinished(decoding.samples)
        say(f"{len(waiting)} of {len(problems)} tasks to complete with {model} on {device}")
        _follow(run, completer.answers(taskset, waiting, decoding), len(problems) * len(decoding.samples))
    generation = effort_metrics([run.effort], time.monotonic() - started)
    samples = in_order(problems, run.samples.values())
    return _publish(out, partial, run, samples, scoring, {"model": model, "sampling": how, "generation": generation})


def _tasks(name: str, data: str, limit: int | None) -> tuple[TaskSet, list[Problem]]:
    taskset = tasksets.get(name)
    return taskset, tasks_to_score(list(tasksets.load_problems(name, data)), data, limit)


def _require_ours(out: Path) -> None:
    """What is at `out` may be replaced.

    Raises:
        EvaluationError: it is a file, or a folder that holds other things than an evaluation's results.
    """
    if out.is_dir():
        others = sorted(path.name for path in out.iterdir() if path.name not in RESULT_FILES)
        if others:
            raise EvaluationError(f"{out} holds {others[0]}, which is no result of an evaluation: name another folder")
    elif out.exists():
        raise EvaluationError(f"{out} is a file: name a folder")


def _follow(run: Run, batches: Iterable[Sequence[Answer]], total: int) -> None:
    """Score with a bar."""
    with tqdm(total=total, initial=len(run.samples), desc=run.taskset.name, unit="completion") as bar:
        run.score(batches, lambda now: bar.update(len(now.samples) - bar.n))


def _partial(out: Path, *parts: object) -> Path:
    """Where an unfinished run into `out` keeps its samples; its name tells what they are samples of."""
    mark = hashlib.sha256("\0".join(map(repr, parts)).encode("utf-8", "surrogatepass")).hexdigest()
    return temporary_sibling(out, mark[:16])


def _publish(
    out: Path, partial: Path, run: Run, samples: Sequence[Sample], scoring: Scoring, more: dict[str, Any]
) -> dict[str, Any]:
    """The results in place of what `out` was before, and of the unfinished run."""
    metrics, results = measure(run.taskset, list(run.problems.values()), samples, scoring, run.execution)
    metrics |= more
    finished = partial / "results"
    write_results(finished, metrics, results, samples)
    shutil.rmtree(out, ignore_errors=True)
    os.rename(finished, out)
    shutil.rmtree(partial)
    return metrics
