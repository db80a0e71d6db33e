"""`wmtp score` and `wmtp evaluate`: an evaluation outside of the pipeline, with the pipeline's own parts."""

from __future__ import annotations

import hashlib
import io
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

import wmtp
from wmtp import tasksets
from wmtp.evaluation.allowance import AS_PUBLISHED, Allowance
from wmtp.evaluation.asking import Asking, prompt_facts
from wmtp.evaluation.results import Answer, Sample, write_results
from wmtp.evaluation.run import Execution, Run, Scoring, effort_metrics, in_order, measure, tasks_to_score
from wmtp.evaluation.submissions import read_answers, require_all
from wmtp.evaluation.unfinished import Unfinished
from wmtp.problems.files import is_written, parse_problems, problem_from_record
from wmtp.problems.records import Notes, Record, version_of
from wmtp.tasksets.base import TaskSet
from wmtp.types import Problem

if TYPE_CHECKING:
    from wmtp.evaluation.backends import ModelChoice
    from wmtp.evaluation.conventions import Drawing

CHUNK = 64
"""Completions of a submission that are handed on at a time; of text answers, what a killed run has to do again at most."""


def score(
    name: str,
    data: str,
    submission: Path,
    out: Path,
    scoring: Scoring,
    asking: Asking,
    *,
    num_workers: int,
    allow_unsafe: bool,
    packages: Sequence[str] | None = None,
    testlib: Path | None = None,
    allowance: Allowance = AS_PUBLISHED,
) -> dict[str, Any]:
    """Score a submission and write `out`: metrics.json, per_task.csv, samples.jsonl.gz (in the submission's order).

    Goes on where a killed run of the same submission stopped. Returns what metrics.json holds.

    Args:
        asking: how the completions were asked for, as far as it decides what is made of them.
        packages: installed ones that programs and tests can import; None for those of the benchmark's own environment.
        testlib: path of testlib.h, for checkers in C++.
        allowance: what programs may take, where it is not as the benchmark says.
    Raises:
        ConfigError, DataError: broken input, tasks that were not answered, a folder that is not ours to write to or that
            holds an unfinished run of something else.
        EvaluationError: no isolation, or a sandbox that failed. Nothing is published then.
    """
    with Unfinished(out) as place:
        taskset, problems = _tasks(name, data, scoring.limit, allowance)
        facts = {"dataset": version_of(data), "allowance": allowance.as_dict()}
        taskset = asking.to_score(taskset)
        answers = read_answers(submission, taskset, problems)
        require_all(taskset, problems, answers, max(scoring.k))
        execution = Execution.prepare(
            taskset,
            problems,
            limits=None,
            num_workers=num_workers,
            allow_unsafe=allow_unsafe,
            packages=packages,
            testlib=testlib,
        )
        identity = _identity(taskset, problems, execution, allowance) | {"submission": _digest(answers)}
        with place.journal(identity | _asked(taskset)) as journal:
            run = Run(taskset, problems, execution, journal)
            waiting = [answer for answer in answers if (answer.task_id, answer.sample) not in run.samples]
            _follow(run, (waiting[start : start + CHUNK] for start in range(0, len(waiting), CHUNK)), len(answers))
        samples = [run.samples[answer.task_id, answer.sample] for answer in answers]
        facts |= {"prompt": _asked(taskset), "versions": _versions("numpy")}
        return _publish(place, run, samples, scoring, facts)


def evaluate(
    name: str,
    data: str,
    model: ModelChoice,
    out: Path,
    scoring: Scoring,
    asking: Asking,
    drawing: Drawing,
    *,
    num_workers: int,
    allow_unsafe: bool,
    packages: Sequence[str] | None = None,
    testlib: Path | None = None,
    allowance: Allowance = AS_PUBLISHED,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Complete a benchmark with a model, score it and write `out` as `score` does.

    Goes on where a killed run of the same model, tasks, prompts and decoding stopped.

    Raises:
        ConfigError, DataError, ModelError, EvaluationError: as `score`; no model, or one that is not whole.
    """
    from wmtp.evaluation.completer import decoding_identity

    started = time.monotonic()
    with Unfinished(out) as place:
        model.check(drawing.num_drafts, drawing.temperature)
        decoding = drawing.decoding(scoring.k, scoring.seed, tasksets.get(name).format(asking.prompt).max_new_tokens)
        taskset, problems = _tasks(name, data, scoring.limit, allowance)
        facts: dict[str, Any] = {"dataset": version_of(data), "allowance": allowance.as_dict()}
        prepared = asking.prepare(taskset, problems)
        execution = Execution.prepare(
            taskset,
            problems,
            limits=None,
            num_workers=num_workers,
            allow_unsafe=allow_unsafe,
            packages=packages,
            testlib=testlib,
        )
        scored = _identity(taskset, problems, execution, allowance)
        place.require_same(scored | decoding_identity(decoding))
        taskset = prepared.of(model.has_chat_template)
        completer = model.load(drawing.num_drafts)
        identity = completer.identity(taskset, problems, decoding)
        with place.journal(scored | _asked(taskset) | identity) as journal:
            run = Run(taskset, problems, execution, journal)
            waiting = run.unfinished(decoding.samples)
            say(f"{len(waiting)} of {len(problems)} tasks to complete with {model.path} by {model.backend}")
            _follow(run, completer.answers(taskset, waiting, decoding, **run.going_on), len(problems) * len(decoding.samples))
        facts |= {
            "model": model.path,
            "prompt": prompt_facts(taskset, prepared.shots),
            "sampling": decoding_identity(decoding),
            "identity": identity,
            "generation": effort_metrics([run.effort], time.monotonic() - started),
            "versions": _versions("torch", "transformers", "tokenizers", "numpy"),
        }
        return _publish(place, run, in_order(problems, run.samples.values()), scoring, facts)


def _asked(taskset: TaskSet) -> dict[str, Any]:
    """What decides what is made of a completion, beside the benchmark."""
    return {"format": taskset.asked_as, "chat_template": taskset.in_chat, "sanitized": taskset.sanitizes}


def _versions(*names: str) -> dict[str, str]:
    """Of what makes, runs and reads completions: Python, which programs run in, wmtp, and packages by name."""
    return {"python": platform.python_version(), "wmtp": wmtp.__version__, **{name: version(name) for name in names}}


def _tasks(name: str, data: str, limit: int | None, allowance: Allowance) -> tuple[TaskSet, list[Problem]]:
    """Of the benchmark's own file, or of one that the stage `sample` has made of it."""
    taskset = tasksets.get(name)
    allowance.require_use(taskset)

    def read(record: Record, where: str, notes: Notes) -> Problem:
        return (problem_from_record if is_written(record) else taskset.read)(record, where, notes)

    return taskset, allowance.of(tasks_to_score(list(parse_problems(data, read)), data, limit))


def _identity(taskset: TaskSet, problems: Sequence[Problem], execution: Execution, allowance: Allowance) -> dict[str, Any]:
    """What decides a completion's verdict; not the machine's speed, which is measured anew and matters at a limit alone."""
    how = {name: value for name, value in execution.as_dict().items() if name != "machine_factor"}
    how |= allowance.as_dict()
    return {"wmtp": wmtp.__version__, "benchmark": taskset.name, "set of tasks": _digest(problems), **how}


def _digest(content: object) -> str:
    return f"sha256:{hashlib.sha256(repr(content).encode('utf-8', 'surrogatepass')).hexdigest()}"


_LINE = "{desc}: {percentage:3.0f}% {n:.1f}/{total} [{elapsed}<{remaining}, {rate_fmt}]"
_BAR = _LINE.replace("% ", "%|{bar}| ")
_SECONDS_BETWEEN_LINES = 30.0


def _follow(run: Run, batches: Iterable[Sequence[Answer]], total: int) -> None:
    """Score with a bar, which moves within completions too: the first of a large model may take minutes to end. Where there is
    no terminal, a line now and then."""
    is_terminal, told = sys.stderr.isatty(), time.monotonic()
    what: dict[str, Any] = {"total": total, "initial": len(run.samples), "desc": run.taskset.name, "unit": "completion"}
    what["bar_format"] = _BAR if is_terminal else _LINE
    if not is_terminal:
        what |= {"file": io.StringIO(), "mininterval": _SECONDS_BETWEEN_LINES}

    def tell(now: Run) -> None:
        nonlocal told
        bar.update(now.progress - bar.n)
        if not is_terminal and time.monotonic() - told > _SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            print(bar, file=sys.stderr, flush=True)

    with tqdm(**what) as bar:
        run.score(batches, tell)


def _publish(place: Unfinished, run: Run, samples: Sequence[Sample], scoring: Scoring, more: dict[str, Any]) -> dict[str, Any]:
    """The results in place of those that were there, and of the unfinished run."""
    metrics, results = measure(run.taskset, list(run.problems.values()), samples, scoring, run.execution)
    metrics |= more
    write_results(place.results, metrics, results, samples)
    place.publish()
    return metrics
