"""Next-token tuning of the reference's counterpart on wrong solutions, as the reference is tuned: only the text differs."""

from __future__ import annotations

from wmtp.config import Config
from wmtp.stages.context import StageContext
from wmtp.stages.tuning import tune
from wmtp.stages.upstream import seeded
from wmtp.tokens.data import TokenData
from wmtp.types import StageResult


def run(config: Config, context: StageContext) -> StageResult:
    """Train on the wrong solutions of `train.arrow`, validate on those of held-out problems, write `artifacts/wrong/<key>`."""
    tables = context.input("artifacts/data")
    data = TokenData.open(tables, "train", solutions="wrong")
    validation = TokenData.open(tables, "critic_validation", solutions="wrong")
    out, record = f"artifacts/wrong/{context.run}", f"artifacts/tuning/wrong/{context.run}"
    return tune(seeded(config.tune_reference, config, "wrong", context), context, data, validation, out=out, record=record)
