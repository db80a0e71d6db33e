"""Held-out NLL of one run's policy: what `evaluate` does where there are documents, and nothing to solve."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

from wmtp.config import Config
from wmtp.distributed import join_world
from wmtp.evaluation.completer import Completer
from wmtp.evaluation.nll import ByDocument, head_scores, head_sums
from wmtp.files import write_json
from wmtp.problems.records import version_of
from wmtp.stages.context import StageContext
from wmtp.stages.counting import row_counts
from wmtp.tokens.data import TokenData
from wmtp.tokens.tables import read_meta
from wmtp.types import StageResult


def evaluate_documents(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/evaluation/<run>`: metrics.json, and per_task.csv with head 0's NLL of every held-out document."""
    spec, started = config.runs[context.run], time.monotonic()
    held_out = TokenData.open(context.input("artifacts/data"), "validation")
    with join_world(context.launch.device, seed=config.evaluate.seed, timeout_s=context.launch.collective_timeout_s) as world:
        completer = Completer.load(str(context.input(f"artifacts/policy/{context.run}")), world.device)
        by_document = ByDocument(held_out, world.device)
        sums = head_sums(completer.model, held_out, rank=world.rank, world_size=world.size, by_document=by_document)
        heads = head_scores(world.all_reduce(sums))
        nll_D, tokens_D = world.all_reduce(by_document.sums_2D).tolist()
        if not world.is_main:
            return StageResult()
    rows = [row for row in zip(by_document.places, tokens_D, nll_D, strict=True) if row[1]]
    metrics = {
        "run": context.run,
        "arm": spec.arm,
        "seed": spec.seed,
        "benchmark": config.evaluate.benchmark,
        "num_tasks": len(rows),
        "dataset": dataset_of(context, "validation.arrow"),
        **heads.as_dict(),
        "dtype": completer.dtype,
        "wall_s": time.monotonic() - started,
    }
    out = context.out(f"artifacts/evaluation/{context.run}")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "metrics.json", metrics)
    _write_documents(out / "per_task.csv", rows)
    flat = {f"{group}/{head}": float(value) for group in ("nll", "token_accuracy") for head, value in metrics[group].items()}
    return StageResult(metrics=flat | {"perplexity": metrics["perplexity"]}, counts=row_counts((held_out, len(held_out))))


def _write_documents(path: Path, rows: list[tuple[str, float, float]]) -> None:
    """A line for every document that has a target."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["task_id", "num_tokens", "nll_sum"])
        writer.writerows((place, int(number), nll) for place, number, nll in rows)


def dataset_of(context: StageContext, name: str) -> dict[str, Any]:
    """Which data these are, as `wmtp evaluate` has it, and the sha256 of every file that `sample` made them of.

    Args:
        name: of the file in the data's folder.
    """
    folder = context.input("artifacts/data")
    sources = {name: digest for name, _, digest in read_meta(folder)["sources"]}
    return version_of(str(folder / name)) | {"sources": sources}
