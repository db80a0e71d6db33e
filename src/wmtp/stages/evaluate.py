"""Generation, execution and scoring of one run's policy, and its held-out NLL. Every rank takes its share of the tasks."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmtp.distributed import World, join_world
from wmtp.errors import EvaluationError
from wmtp.evaluation.benchmarks import Benchmark, get_benchmark
from wmtp.evaluation.generate import GREEDY, Decoding, Prompt, generate_batches
from wmtp.evaluation.nll import head_scores, head_sums
from wmtp.evaluation.results import Answer, Sample, require_tests, score_answers, summarise, task_results, write_results
from wmtp.problems.files import read_problems
from wmtp.problems.render import render_prompt
from wmtp.progress import Progress
from wmtp.sandbox.machine import machine_factor
from wmtp.sandbox.pool import isolation, run_tests
from wmtp.tokens.data import TokenData, TokenMeta
from wmtp.tokens.tokenizer import load_tokenizer
from wmtp.types import Limits, Problem, Program, StageResult, Verdict

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from wmtp.config import Config
    from wmtp.config.schema import EvaluateConfig
    from wmtp.stages.context import StageContext


def run(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/evaluation/<run>`: metrics.json, per_task.csv, samples.jsonl.gz."""
    section, spec = config.evaluate, config.runs[context.run]
    started = time.monotonic()
    benchmark = get_benchmark(section.benchmark)
    problems = _tasks(context, section.limit)
    policy = context.input(f"artifacts/policy/{context.run}")
    validation = TokenData.open(context.input("artifacts/data"), "validation")
    tokenizer = load_tokenizer(policy).tokenizer
    decoding = _decoding(section, benchmark, validation.meta)
    with join_world(context.launch.device) as world:
        if world.is_main:
            print(
                f"{context.name}: {len(problems)} {benchmark.name} tasks, {section.num_samples} samples and one greedy",
                flush=True,
            )
        model = _load(policy, world)
        heads = head_scores(world.all_reduce(head_sums(model, validation, rank=world.rank, world_size=world.size)))
        unsafe = section.sandbox.allow_unsafe
        factor = max(world.gather_objects(machine_factor(allow_unsafe=unsafe) if benchmark.own_limits else 1.0))
        work = _Share(context, world, section, benchmark, problems, factor)
        parts = world.gather_objects(work.run(model, tokenizer, decoding))
        samples = _in_order(problems, decoding, [Sample(**record) for part in parts for record in part["samples"]])
        results = task_results(problems, samples)
        if not world.is_main:
            return StageResult()
    summary = summarise(results, samples, k=sorted({1, *section.k}), num_bootstrap=section.num_bootstrap, seed=section.seed)
    metrics = {
        "run": context.run,
        "arm": spec.arm,
        "seed": spec.seed,
        "benchmark": benchmark.name,
        "limit": section.limit,
        **summary,
        **heads.as_dict(),
        "sampling": {key: getattr(section, key) for key in ("seed", "temperature", "top_p", "max_new_tokens")},
        "sandbox": {**asdict(section.sandbox), "isolation": isolation(allow_unsafe=unsafe), "machine_factor": factor},
        "generation": _timing([part["timing"] for part in parts], time.monotonic() - started),
    }
    write_results(context.out(f"artifacts/evaluation/{context.run}"), metrics, results, samples)
    counts = {f"verdicts/{status}": number for status, number in summary["verdicts"].items()}
    return StageResult(metrics=_flat(metrics), counts={"num_tasks": len(results), **counts})


def _load(policy: Path, world: World) -> nn.Module:
    """Any causal language model that transformers knows, wmtp's own included."""
    from transformers import AutoModelForCausalLM

    import wmtp.models  # noqa: F401 (registers the model type)

    model: nn.Module = AutoModelForCausalLM.from_pretrained(policy)
    return model.to(world.device).eval()


def _tasks(context: StageContext, limit: int | None) -> list[Problem]:
    """All test problems, or the first `limit`, which every result then names."""
    path = context.input("artifacts/data/test_problems.jsonl")
    problems = read_problems(path)
    if not problems:
        raise EvaluationError(f"{path} holds no problems")
    require_tests(problems, path)
    return problems[:limit]


def _decoding(section: EvaluateConfig, benchmark: Benchmark, meta: TokenMeta) -> Decoding:
    return Decoding(
        num_samples=section.num_samples,
        temperature=section.temperature,
        top_p=section.top_p,
        seed=section.seed,
        max_new_tokens=section.max_new_tokens,
        batch_size=section.batch_size,
        eos_token_ids=(meta.eos_token_id,),
        pad_token_id=meta.pad_token_id,
        stop=benchmark.stop,
        num_drafts=section.num_drafts,
    )


class _Share:
    """One rank's tasks. Scored samples go to a journal, so that an interrupted evaluation continues."""

    def __init__(
        self,
        context: StageContext,
        world: World,
        section: EvaluateConfig,
        benchmark: Benchmark,
        problems: Sequence[Problem],
        time_factor: float,
    ) -> None:
        self.section, self.benchmark, self.time_factor = section, benchmark, time_factor
        self.limits = Limits(section.sandbox.time_limit_s, section.sandbox.memory_limit_bytes)
        self.num_workers = max(1, context.launch.sandbox_workers // context.launch.nproc_per_node)
        self.problems = {problem.problem_id: problem for problem in problems}
        self.mine = {problem.problem_id for problem in problems[world.rank :: world.size]}
        self.scored = [record for record in _read_journals(context.resume) if record["task_id"] in self.mine]
        world.barrier()
        context.resume.mkdir(parents=True, exist_ok=True)
        self.journal = context.resume / f"samples-{world.rank}-{time.time_ns()}.jsonl"
        total = len(self.mine) * (section.num_samples + 1)
        self.progress = Progress(context.name, total=total, root=context.root, enabled=world.is_main)
        self.timing = dict.fromkeys(("generated_tokens", "forwards", "generation_s", "execution_s"), 0.0)
        self.timing["resumed_samples"] = len(self.scored)

    def run(self, model: nn.Module, tokenizer: Tokenizer, decoding: Decoding) -> dict[str, Any]:
        """Generate and score batch by batch; samples as plain records."""
        counts: dict[str, int] = {}
        for record in self.scored:
            counts[record["task_id"]] = counts.get(record["task_id"], 0) + 1
        complete = {task for task, number in counts.items() if number == len(decoding.samples)}
        done = {(record["task_id"], record["sample"]) for record in self.scored}
        prompts = [
            Prompt(task, tuple(tokenizer.encode(render_prompt(problem), add_special_tokens=False).ids))
            for task, problem in self.problems.items()
            if task in self.mine - complete
        ]
        since = time.monotonic()
        with self.journal.open("a", encoding="utf-8") as journal:
            for batch in generate_batches(model, tokenizer, prompts, decoding):
                self.timing["generation_s"] += time.monotonic() - since
                self.timing["generated_tokens"] += sum(completion.num_tokens for completion in batch)
                self.timing["forwards"] += sum(completion.num_forwards for completion in batch)
                since = time.monotonic()
                answers = [
                    Answer(c.task_id, "greedy" if c.sample == GREEDY else c.sample, c.text, c.finish, c.num_tokens)
                    for c in batch
                ]
                fresh = [answer for answer in answers if (answer.task_id, answer.sample) not in done]
                for sample in score_answers(self.benchmark, self.problems, fresh, self._execute, self.limits):
                    self.scored.append(asdict(sample))
                    journal.write(json.dumps(asdict(sample)) + "\n")
                journal.flush()
                self.timing["execution_s"] += time.monotonic() - since
                tokens_per_s = self.timing["generated_tokens"] / max(1e-9, self.timing["generation_s"])
                self.progress.update(len(self.scored), tokens_per_s=tokens_per_s)
                since = time.monotonic()
        self.progress.close()
        return {"samples": self.scored, "timing": self.timing}

    def _execute(self, programs: Sequence[Program]) -> list[Verdict]:
        return run_tests(
            programs,
            limits=self.limits,
            num_workers=self.num_workers,
            allow_unsafe=self.section.sandbox.allow_unsafe,
            time_factor=self.time_factor,
        )


def _read_journals(folder: Path) -> list[dict[str, Any]]:
    """What earlier, interrupted attempts scored; the last line of a killed one may be incomplete."""
    records: dict[tuple[str, Any], dict[str, Any]] = {}
    for path in sorted(folder.glob("samples-*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                record = json.loads(line)
                records[record["task_id"], record["sample"]] = record
    return list(records.values())


def _in_order(problems: Sequence[Problem], decoding: Decoding, samples: Sequence[Sample]) -> list[Sample]:
    """By task and sample, greedy first, whichever rank and batch they came from."""
    place = {problem.problem_id: i for i, problem in enumerate(problems)}
    return sorted(samples, key=lambda sample: (place[sample.task_id], -1 if sample.sample == "greedy" else int(sample.sample)))


def _timing(parts: Sequence[dict[str, Any]], wall_s: float) -> dict[str, Any]:
    """Over all ranks: tokens per second of the ranks together, times of the slowest."""
    slowest = max(part["generation_s"] for part in parts)
    tokens, forwards = (sum(int(part[key]) for part in parts) for key in ("generated_tokens", "forwards"))
    return {
        "tokens": tokens,
        "tokens_per_s": tokens / slowest if slowest else 0.0,
        "tokens_per_forward": tokens / forwards if forwards else 0.0,
        "generation_s": slowest,
        "execution_s": max(part["execution_s"] for part in parts),
        "resumed_samples": sum(int(part["resumed_samples"]) for part in parts),
        "wall_s": wall_s,
        "world_size": len(parts),
    }


def _flat(metrics: dict[str, Any]) -> dict[str, float]:
    """The scores, for the tracker and the terminal."""
    flat = {key: float(value) for key, value in metrics.items() if "pass@" in key and not isinstance(value, dict)}
    for group in ("nll", "token_accuracy"):
        flat |= {f"{group}/{head}": float(value) for head, value in metrics[group].items()}
    return flat | {"perplexity": metrics["perplexity"], "tokens_per_s": metrics["generation"]["tokens_per_s"]}
