"""Generation, sandboxed execution, pass@k and held-out NLL of one policy."""

from __future__ import annotations

import csv
import gzip
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmtp.config import Config
from wmtp.config.schema import EvaluateConfig
from wmtp.data.loader import Rows
from wmtp.data.problems import read_problems
from wmtp.data.render import program_source, render_prompt
from wmtp.data.tokenizer import load_tokenizer
from wmtp.distributed import World
from wmtp.distributed import world as join_world
from wmtp.errors import EvaluationError
from wmtp.evaluation.compare import bootstrap_mean
from wmtp.evaluation.generate import Decoding, generate
from wmtp.evaluation.held_out import held_out_metrics
from wmtp.evaluation.pass_at_k import pass_at_k
from wmtp.evaluation.sandbox import isolation, run_tests
from wmtp.models.mtp import MTPForCausalLM
from wmtp.stages.context import StageContext
from wmtp.stages.output import write_json
from wmtp.types import Limits, Problem, Program, StageResult

HELD_OUT_BATCH_TOKENS = 4096
Sample = dict[str, Any]


def run(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/evaluation/<run>`: metrics.json, per_task.csv, samples.jsonl.gz. Every task is scored, or it fails."""
    section, spec = config.evaluate, config.runs[context.run]
    problems = read_problems(context.input("artifacts/data/test_problems.jsonl"))[: section.limit]
    out = context.out(f"artifacts/evaluation/{context.run}")
    with join_world(context.launch.device) as world:
        model = MTPForCausalLM.from_pretrained(context.input(f"artifacts/policy/{context.run}")).eval()
        torch.nn.Module.to(model, world.device)
        meta = json.loads(context.input("artifacts/data/meta.json").read_text(encoding="utf-8"))
        text = held_out_metrics(
            world,
            model,
            Rows(context.input("artifacts/data/validation.arrow")),
            batch_tokens=HELD_OUT_BATCH_TOKENS,
            pad_token_id=meta["pad_token_id"],
        )
        mine = _Evaluation(context, section, world, model, problems).run()
        samples = [sample for part in world.gather_objects(mine) for sample in part]
    expected = len(problems) * (section.num_samples + 1)
    if len(samples) != expected:
        raise EvaluationError(f"{len(samples)} of {expected} samples were scored")
    metrics = {
        "run": context.run,
        "arm": spec.arm,
        "seed": spec.seed,
        "benchmark": section.benchmark,
        "limit": section.limit,
        **text,
        **_scores(problems, samples, section),
        "sandbox": {
            "isolation": isolation(allow_unsafe=section.sandbox.allow_unsafe),
            "allow_unsafe": section.sandbox.allow_unsafe,
        },
        "decoding": {"temperature": section.temperature, "top_p": section.top_p, "seed": section.seed},
    }
    if context.is_main:
        _write(out, metrics, samples, problems)
        flat = {key: float(value) for key, value in metrics.items() if isinstance(value, float)}
        context.tracker.log_metrics({key.replace("@", "_at_"): value for key, value in flat.items()}, step=0)
    shown = {key: float(metrics[key]) for key in ("pass@1", "greedy_pass@1", "perplexity")}
    return StageResult(metrics={**shown, "nll_head0": metrics["nll"]["head0"]}, counts=metrics["verdicts"])


class _Evaluation:
    """This rank's tasks: every world_size-th one."""

    def __init__(
        self, context: StageContext, section: EvaluateConfig, world: World, model: Any, problems: list[Problem]
    ) -> None:
        self.context, self.section, self.world, self.model = context, section, world, model
        self.numbers = list(range(world.rank, len(problems), world.size))
        self.problems = problems
        self.tokenizer = load_tokenizer(context.input("artifacts/data/tokenizer"))

    def run(self) -> list[Sample]:
        """One record per completion, greedy first."""
        section = self.section
        prompts = [
            self.tokenizer.tokenizer.encode(render_prompt(self.problems[i]), add_special_tokens=False).ids for i in self.numbers
        ]
        greedy = Decoding(section.max_new_tokens)
        sampled = Decoding(section.max_new_tokens, section.temperature, section.top_p, section.num_samples, section.seed)
        samples: list[Sample] = []
        for what, decoding in (("greedy", greedy), ("sampled", sampled)):
            completions = generate(
                self.model,
                prompts,
                self.numbers,
                decoding,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
                batch_size=section.batch_size,
                on_done=_every_two_seconds(lambda n, w=what: self._say(f"{w}: {n}/{len(prompts)} tasks generated")),  # type: ignore[misc]
            )
            for number, rows in zip(self.numbers, completions, strict=True):
                for k, ids in enumerate(rows):
                    completion = self.tokenizer.tokenizer.decode(ids)
                    name = "greedy" if what == "greedy" else k
                    samples.append(
                        {"task": number, "task_id": self.problems[number].problem_id, "sample": name, "completion": completion}
                    )
        return self._execute(samples)

    def _execute(self, samples: list[Sample]) -> list[Sample]:
        bound = self.section.sandbox
        programs = []
        for sample in samples:
            problem = self.problems[sample["task"]]
            limits = Limits(
                min(problem.time_limit_s, bound.time_limit_s), min(problem.memory_limit_bytes, bound.memory_limit_bytes)
            )
            programs.append(Program(program_source(problem, sample["completion"]), problem.tests, limits))
        finished = iter(range(1, len(programs) + 1))
        say = _every_two_seconds(lambda n: self._say(f"{n}/{len(programs)} programs executed"))
        verdicts = run_tests(
            programs,
            limits=Limits(),
            num_workers=max(1, self.context.launch.sandbox_workers // self.world.size),
            allow_unsafe=bound.allow_unsafe,
            on_verdict=lambda index, verdict: say(next(finished)),
        )
        for sample, verdict in zip(samples, verdicts, strict=True):
            sample |= {
                "verdict": verdict.status,
                "num_tests": verdict.num_tests,
                "num_passed": verdict.num_passed,
                "detail": verdict.detail,
            }
        return samples

    def _say(self, line: str) -> None:
        if self.world.is_main:
            print(f"{self.context.name} {line}", flush=True)


def _every_two_seconds(say: Callable[[int], None]) -> Callable[[int], None]:
    spoken = time.monotonic()

    def sparse(number: int) -> None:
        nonlocal spoken
        if time.monotonic() - spoken >= 2:
            spoken = time.monotonic()
            say(number)

    return sparse


def _scores(problems: list[Problem], samples: list[Sample], section: EvaluateConfig) -> dict[str, Any]:
    """pass@k over all tasks with intervals, by difficulty, and how programs ended."""
    correct, greedy = np.zeros(len(problems), int), np.zeros(len(problems))
    for sample in samples:
        passed = sample["verdict"] == "passed"
        if sample["sample"] == "greedy":
            greedy[sample["task"]] = passed
        else:
            correct[sample["task"]] += passed
    scores: dict[str, Any] = {"num_tasks": len(problems), "num_samples": section.num_samples}
    per_k = {f"pass@{k}": np.array([pass_at_k(section.num_samples, int(c), k) for c in correct]) for k in section.k}
    for name, values in (per_k | {"pass@1": correct / section.num_samples, "greedy_pass@1": greedy}).items():
        interval = bootstrap_mean(values, num_bootstrap=section.num_bootstrap, seed=section.seed)
        scores |= {name: float(values.mean()), f"{name}_low": interval.low, f"{name}_high": interval.high}
    by_difficulty: dict[str, Any] = {}
    for level in sorted({p.difficulty for p in problems}):
        members = np.array([p.difficulty == level for p in problems])
        by_difficulty[str(level)] = {
            "num_tasks": int(members.sum()),
            "pass@1": float(correct[members].mean() / section.num_samples),
        }
    verdicts = Counter(sample["verdict"] for sample in samples)
    return {**scores, "by_difficulty": by_difficulty, "verdicts": dict(sorted(verdicts.items()))}


def _write(out: Path, metrics: dict[str, Any], samples: list[Sample], problems: list[Problem]) -> None:
    """Deterministic files: no times in them, gzip without its time stamp."""
    write_json(out / "metrics.json", metrics)
    samples = sorted(samples, key=lambda s: (s["task"], s["sample"] != "greedy", str(s["sample"]).zfill(9)))
    with (out / "samples.jsonl.gz").open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as file:
        for sample in samples:
            file.write((json.dumps(sample, sort_keys=True) + "\n").encode())
    with (out / "per_task.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["task_id", "difficulty", "num_samples", "num_correct", "greedy_correct"])
        for number, problem in enumerate(problems):
            own = [s for s in samples if s["task"] == number]
            passed = [s["verdict"] == "passed" for s in own if s["sample"] != "greedy"]
            greedy = any(s["verdict"] == "passed" for s in own if s["sample"] == "greedy")
            writer.writerow([problem.problem_id, problem.difficulty, len(passed), sum(passed), int(greedy)])
