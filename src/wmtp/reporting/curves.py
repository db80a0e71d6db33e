"""Learning curves and the tokens a run needs to reach a given loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def curves_of(history: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, float]]]:
    """`validation` (val/nll_head0) and `train` (train/loss) points: {"step", "tokens", "value"}, in step order."""
    return {name: _points(history, key) for name, key in (("validation", "val/nll_head0"), ("train", "train/loss"))}


def _points(history: Sequence[dict[str, Any]], key: str) -> list[dict[str, float]]:
    return [
        {"step": row["step"], "tokens": row["tokens"], "value": float(row[key])} for row in history if row.get(key) is not None
    ]


def point_at(points: Sequence[dict[str, float]], step: int) -> dict[str, float] | None:
    """The point of `step`, where a run's result was measured; None on a curve that has none."""
    return next((point for point in points if point["step"] == step), None)


def tokens_to_reach(points: Sequence[dict[str, float]], target: dict[str, float]) -> dict[str, float | None]:
    """Where a validation curve first is at or below `target["value"]`, interpolated linearly between validations.

    Returns:
        {"target_nll", "tokens", "step", "frac_of_baseline"}: the last three None when the curve never gets there;
        the fraction is of the tokens that the target's own run had seen at the target.
    """
    found: dict[str, float | None] = {"target_nll": target["value"], "tokens": None, "step": None, "frac_of_baseline": None}
    for index, point in enumerate(points):
        if point["value"] > target["value"]:
            continue
        before = points[index - 1] if index else point
        drop = before["value"] - point["value"]
        share = (before["value"] - target["value"]) / drop if drop > 0 else 1.0
        for key in ("tokens", "step"):
            found[key] = before[key] + share * (point[key] - before[key])
        tokens = found["tokens"]
        assert tokens is not None
        found["frac_of_baseline"] = tokens / target["tokens"] if target["tokens"] else None
        break
    return found
