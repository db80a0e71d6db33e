"""Per-token reference NLL of every training example, once."""

from __future__ import annotations

from wmtp.config import Config
from wmtp.stages.context import StageContext
from wmtp.stages.scoring import load_tuned, score_nll
from wmtp.types import StageResult

TABLES = ("train", "critic", "critic_validation")


def run(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/scores/reference/<key>/<table>.arrow` for every table that a later stage joins.

    Documents have none of the critic's.
    """
    folder = context.input("artifacts/data")
    return score_nll(
        context,
        lambda meta: load_tuned(context, f"artifacts/reference/{context.run}"),
        "reference_nll",
        f"artifacts/scores/reference/{context.run}",
        tables=[table for table in TABLES if (folder / f"{table}.arrow").exists()],
        section=config.score,
    )
