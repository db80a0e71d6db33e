"""Per-token critic value of every policy training example, once."""

from __future__ import annotations

from wmtp.config import Config
from wmtp.distributed import join_world
from wmtp.files import write_json
from wmtp.models.value import open_value_model
from wmtp.stages.context import StageContext
from wmtp.stages.counting import row_counts
from wmtp.stages.scoring import frozen, score_table
from wmtp.tokens.data import TokenData
from wmtp.tokens.tables import read_table
from wmtp.training.scoring import critic_values
from wmtp.types import StageResult


def run(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/scores/value/<key>/train.arrow`."""
    out = context.out(f"artifacts/scores/value/{context.run}")
    metrics: dict[str, float] = {}
    counts: dict[str, int] = {}
    with join_world(context.launch.device, seed=0, timeout_s=context.launch.collective_timeout_s) as world:
        critic = open_value_model(context.input(f"artifacts/critic/{context.run}"))
        score = critic_values(frozen(critic, world, config.score.dtype))
        columns = {"reference_nll": context.input(f"artifacts/scores/reference/{context.run}")}
        data = TokenData.open(context.input("artifacts/data"), "train", columns=columns)
        flat = score_table(context, world, score, data, "value", out, config.score.batch_tokens)
        if world.is_main:
            final = flat[data.offsets[1:] - 1]
            metrics = {
                "value/mean_correct": float(final[data.is_correct].mean()) if data.is_correct.any() else float("nan"),
                "value/mean_incorrect": float(final[~data.is_correct].mean()) if not data.is_correct.all() else float("nan"),
            }
            write_json(out / "metrics.json", metrics)
            counts = row_counts((data, read_table(out / "train.arrow").num_rows))
    context.tracker.log_metrics(metrics, step=0)
    return StageResult(metrics=metrics, counts=counts)
