"""Next-token tuning of the reference model on clean, correct solutions."""

from __future__ import annotations

from wmtp.config import Config
from wmtp.stages.context import StageContext
from wmtp.stages.tuning import tune
from wmtp.tokens.data import TokenData
from wmtp.types import StageResult


def run(config: Config, context: StageContext) -> StageResult:
    """Train on `reference.arrow`, validate on `validation.arrow`, write `artifacts/reference`."""
    tables = context.input("artifacts/data")
    data, validation = TokenData.open(tables, "reference"), TokenData.open(tables, "validation")
    record = "artifacts/tuning/reference"
    return tune(config.tune_reference, context, data, validation, out="artifacts/reference", record=record)
