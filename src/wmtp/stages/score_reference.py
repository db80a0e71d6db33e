"""Per-token reference NLL of every training example, once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from wmtp.config import Config
from wmtp.distributed import join_world
from wmtp.errors import DataError
from wmtp.models.build import parallelize
from wmtp.models.mtp import MTPForCausalLM
from wmtp.stages.context import StageContext
from wmtp.tokens.data import TokenData
from wmtp.training.scoring import reference_nll, score_rows, write_scores
from wmtp.types import StageResult

TABLES = ("train", "critic", "critic_validation")


def run(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/scores/reference/<table>.arrow` for every table that a later stage joins."""
    _require_same_vocabulary(context)
    out = context.out("artifacts/scores/reference")
    means: dict[str, float] = {}
    scored: dict[bytes, Path] = {}
    with join_world(context.launch.device) as world:
        plain = MTPForCausalLM.from_pretrained(context.input("artifacts/reference"))
        model = parallelize(plain, world.mesh, dtype="float32", activation_checkpointing=False).eval()
        for table in TABLES:
            data = TokenData.open(context.input("artifacts/data"), table)
            if data.fingerprint in scored:  # the critic's rows may be the policy's
                if world.is_main:
                    shutil.copyfile(scored[data.fingerprint], out / f"{table}.arrow")
                continue
            scored[data.fingerprint] = out / f"{table}.arrow"
            scratch = out / f".{table}.npy"
            flat = score_rows(
                world,
                data,
                reference_nll(model),
                scratch,
                batch_tokens=config.score.batch_tokens,
                say=lambda line: print(f"{context.name} {line}", flush=True),
            )
            if world.is_main:
                write_scores(out / f"{table}.arrow", data, "reference_nll", flat)
                scratch.unlink()
                means[f"{table}/reference_nll"] = float(flat[: len(data.tokens)].mean(dtype="float64"))
            world.barrier()
    context.tracker.log_metrics(means, step=0)
    return StageResult(metrics=means)


def _require_same_vocabulary(context: StageContext) -> None:
    """Rho-1 compares losses token by token, which means nothing across vocabularies."""
    vocabularies = [
        json.loads(context.input(path).read_text(encoding="utf-8"))["model"]["vocab"]
        for path in ("artifacts/data/tokenizer/tokenizer.json", "artifacts/reference/tokenizer.json")
    ]
    if vocabularies[0] != vocabularies[1]:
        raise DataError("the reference's vocabulary is not the dataset's: tune the reference on this dataset's tokenizer")
