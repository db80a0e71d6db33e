"""Per-token critic value of every policy training example, once."""

from __future__ import annotations

from wmtp.config import Config
from wmtp.distributed import join_world
from wmtp.models.build import parallelize
from wmtp.models.value import load_value_model
from wmtp.stages.context import StageContext
from wmtp.stages.output import write_json
from wmtp.tokens.data import TokenData
from wmtp.training.scoring import critic_values, score_rows, write_scores
from wmtp.types import StageResult


def run(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/scores/value/train.arrow`."""
    out = context.out("artifacts/scores/value")
    metrics: dict[str, float] = {}
    with join_world(context.launch.device) as world:
        plain = load_value_model(context.input("artifacts/critic"))
        model = parallelize(plain, world.mesh, dtype="float32", activation_checkpointing=False).eval()
        columns = {"reference_nll": context.input("artifacts/scores/reference")}
        data = TokenData.open(context.input("artifacts/data"), "train", columns=columns)
        scratch = out / ".train.npy"
        flat = score_rows(
            world,
            data,
            critic_values(model),
            scratch,
            batch_tokens=config.score.batch_tokens,
            say=lambda line: print(f"{context.name} {line}", flush=True),
        )
        if world.is_main:
            write_scores(out / "train.arrow", data, "value", flat)
            scratch.unlink()
            final = flat[data.offsets[1:] - 1]
            metrics = {
                "value/mean_correct": float(final[data.is_correct].mean()) if data.is_correct.any() else float("nan"),
                "value/mean_incorrect": float(final[~data.is_correct].mean()) if not data.is_correct.all() else float("nan"),
            }
            write_json(out / "metrics.json", metrics)
    context.tracker.log_metrics(metrics, step=0)
    return StageResult(metrics=metrics)
