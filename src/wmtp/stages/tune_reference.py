"""Next-token tuning of the reference model on clean, correct solutions."""

from __future__ import annotations

from wmtp.config import Config
from wmtp.stages.context import StageContext
from wmtp.stages.tuning import tune
from wmtp.stages.upstream import seeded
from wmtp.tokens.data import TokenData
from wmtp.types import StageResult


def run(config: Config, context: StageContext) -> StageResult:
    """Train on `reference.arrow`, validate on `validation.arrow`, write `artifacts/reference/<key>`."""
    tables = context.input("artifacts/data")
    data, validation = TokenData.open(tables, "reference"), TokenData.open(tables, "validation")
    section = seeded(config.tune_reference, config, "reference", context)
    out, record = f"artifacts/reference/{context.run}", f"artifacts/tuning/reference/{context.run}"
    return tune(section, context, data, validation, out=out, record=record)
