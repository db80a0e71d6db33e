"""Per-token NLL of every training example under the reference as it was before its tuning, once."""

from __future__ import annotations

from wmtp.config import Config
from wmtp.stages.context import StageContext
from wmtp.stages.new_model import new_model
from wmtp.stages.scoring import score_nll
from wmtp.stages.upstream import seed_of
from wmtp.types import StageResult


def run(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/scores/base/<key>/train.arrow`, of the model that `tune_reference` starts from."""
    section = config.tune_reference
    seed = seed_of(section, config, "base", context)
    return score_nll(
        context,
        lambda meta: new_model(section.model, meta, context.tokenizer, seed=seed),
        "base_nll",
        f"artifacts/scores/base/{context.run}",
        section=config.score,
    )
