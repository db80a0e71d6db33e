"""Generation, execution and scoring of one run's policy, and its held-out NLL. Every rank takes its share of the tasks."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wmtp import tasksets
from wmtp.distributed import World, join_world
from wmtp.evaluation.asking import prompt_facts
from wmtp.evaluation.completer import Completer
from wmtp.evaluation.generate import Decoding
from wmtp.evaluation.nll import head_scores, head_sums
from wmtp.evaluation.results import write_results
from wmtp.evaluation.run import Execution, Run, SampleJournal, Scoring, effort_metrics, in_order, measure, tasks_to_score
from wmtp.problems import documents
from wmtp.problems.files import read_problems
from wmtp.progress import Progress
from wmtp.stages.counting import task_counts
from wmtp.stages.evaluate_documents import dataset_of, evaluate_documents
from wmtp.tokens.data import TokenData
from wmtp.types import Limits, StageResult

if TYPE_CHECKING:
    from wmtp.config import Config
    from wmtp.config.evaluation import EvaluateConfig
    from wmtp.config.runtime import RuntimeConfig
    from wmtp.stages.context import StageContext


def run(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/evaluation/<run>`: metrics.json, per_task.csv, samples.jsonl.gz."""
    if config.evaluate.benchmark in documents.KINDS:
        return evaluate_documents(config, context)
    section, spec = config.evaluate, config.runs[context.run]
    started = time.monotonic()
    taskset = tasksets.get(section.benchmark)
    path = context.input("artifacts/data/test_problems.jsonl")
    every_problem = read_problems(path)
    problems = tasks_to_score(every_problem, path, section.limit)
    validation = TokenData.open(context.input("artifacts/data"), "validation")
    decoding = _decoding(section, context.runtime)
    scoring = Scoring(k=_powers_of_ten(section.num_samples), limit=section.limit, seed=section.seed)
    with join_world(context.launch.device, seed=section.seed, timeout_s=context.launch.collective_timeout_s) as world:
        testlib = section.sandbox.testlib
        if world.is_main:
            print(
                f"{context.name}: {len(problems)} {taskset.name} tasks, {section.num_samples} samples and one greedy",
                flush=True,
            )
        execution = Execution.prepare(
            taskset,
            problems,
            limits=Limits(section.sandbox.time_limit_s, section.sandbox.memory_limit_bytes),
            num_workers=max(1, context.launch.sandbox_workers // context.launch.nproc_per_node),
            allow_unsafe=section.sandbox.allow_unsafe,
            packages=section.sandbox.packages,
            testlib=None if testlib is None else context.root / testlib,
        )
        execution = replace(execution, time_factor=max(world.gather_objects(execution.time_factor)))
        completer = Completer.load(str(context.input(f"artifacts/policy/{context.run}")), world.device)
        heads = head_scores(world.all_reduce(head_sums(completer.model, validation, rank=world.rank, world_size=world.size)))
        with SampleJournal(context.resume, world.rank) as journal:
            mine = Run(taskset, problems[world.rank :: world.size], execution, journal)
            _complete(mine, completer, decoding, context, world)
        parts = world.gather_objects((list(mine.samples.values()), mine.effort))
        samples = in_order(problems, (sample for scored, _ in parts for sample in scored))
        metrics, results = measure(taskset, problems, samples, scoring, execution)
        if not world.is_main:
            return StageResult()
    metrics |= {
        "run": context.run,
        "arm": spec.arm,
        "seed": spec.seed,
        "dataset": dataset_of(context, "test_problems.jsonl"),
        **heads.as_dict(),
        "dtype": completer.dtype,
        "prompt": prompt_facts(taskset),
        "sampling": {key: getattr(section, key) for key in ("seed", "temperature", "top_p", "max_new_tokens")},
        "generation": effort_metrics([effort for _, effort in parts], time.monotonic() - started),
    }
    write_results(context.out(f"artifacts/evaluation/{context.run}"), metrics, results, samples)
    counts = {f"verdicts/{status}": number for status, number in metrics["verdicts"].items()}
    over_limit = len(every_problem[len(problems) :])
    counts |= task_counts(num_read=len(every_problem), num_over_limit=over_limit, num_scored=len(results))
    return StageResult(metrics=_flat(metrics), counts=counts)


def _powers_of_ten(largest: int) -> tuple[int, ...]:
    """The k of pass@k here; the report has any from per_task.csv."""
    return tuple(10**i for i in range(len(str(largest))))


def _decoding(section: EvaluateConfig, runtime: RuntimeConfig) -> Decoding:
    return Decoding(
        num_samples=section.num_samples,
        temperature=section.temperature,
        top_p=section.top_p,
        seed=section.seed,
        max_new_tokens=section.max_new_tokens,
        batch_size=runtime.generation_batch_size,
        num_drafts=runtime.num_drafts,
    )


def _complete(mine: Run, completer: Completer, decoding: Decoding, context: StageContext, world: World) -> None:
    """This rank's share."""
    total = len(mine.problems) * len(decoding.samples)
    progress = Progress(context.name, total=total, root=context.root, enabled=world.is_main)
    batches = completer.answers(mine.taskset, mine.unfinished(decoding.samples), decoding, **mine.going_on)

    def tell(now: Run) -> None:
        scored = len(now.samples)
        progress.update(scored, at_work=now.progress - scored, tokens_per_s=now.effort.tokens_per_s or None)

    mine.score(batches, tell)
    progress.close()


def _flat(metrics: dict[str, Any]) -> dict[str, float]:
    """The scores, for the tracker and the terminal."""
    flat = {key: float(value) for key, value in metrics.items() if "pass@" in key and not isinstance(value, dict)}
    for group in ("nll", "token_accuracy"):
        flat |= {f"{group}/{head}": float(value) for head, value in metrics[group].items()}
    return flat | {"perplexity": metrics["perplexity"], "tokens_per_s": metrics["generation"]["tokens_per_s"]}
