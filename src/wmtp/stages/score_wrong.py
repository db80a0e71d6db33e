"""Per-token NLL of every training example under the model of wrong solutions, once."""

from __future__ import annotations

from wmtp.config import Config
from wmtp.stages.context import StageContext
from wmtp.stages.scoring import load_tuned, score_nll
from wmtp.types import StageResult


def run(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/scores/wrong/<key>/train.arrow`."""
    return score_nll(
        context,
        lambda meta: load_tuned(context, f"artifacts/wrong/{context.run}"),
        "wrong_nll",
        f"artifacts/scores/wrong/{context.run}",
        section=config.score,
    )
