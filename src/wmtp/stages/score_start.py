"""Per-token NLL of every training example under the policy as it is before its first step, once per seed."""

from __future__ import annotations

from wmtp.config import Config
from wmtp.stages.context import StageContext
from wmtp.stages.new_model import new_model
from wmtp.stages.scoring import score_nll
from wmtp.types import StageResult


def run(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/scores/start/<key>/train.arrow`, of the model that `train_policy` starts from with this seed."""
    seed = config.columns["start"][context.run].seed
    return score_nll(
        context,
        lambda meta: new_model(config.train_policy.model, meta, context.tokenizer, seed=seed),
        "start_nll",
        f"artifacts/scores/start/{context.run}",
        section=config.score,
    )
