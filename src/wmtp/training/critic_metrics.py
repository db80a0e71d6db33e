"""How good the critic's values are.

Shapes: N examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score


def critic_metrics(
    final_value_N: np.ndarray,
    is_correct_N: np.ndarray,
    problem_ids_N: np.ndarray,
    max_reference_nll_N: np.ndarray | None = None,
) -> dict[str, Any]:
    """Metrics of the value after the last token, as a prediction of correctness.

    Args:
        final_value_N: probabilities; is_correct_N: bool; problem_ids_N: which examples belong together.
        max_reference_nll_N: largest reference NLL of the response, the control that needs no critic.
    Returns:
        auc, brier, ece (10 equal-width bins), pairwise_accuracy (right above wrong within a problem, ties half),
        explained_variance, num_examples, calibration [{p, y, n}], and auc_max_reference_nll when given.
        AUCs are absent when only one class occurs.
    Source: Brier 1950; Guo et al. 2017, arXiv 1706.04599 (ECE).
    """
    value, correct = final_value_N.astype(np.float64), is_correct_N.astype(bool)
    error = correct - value
    bins = _calibration(value, correct)
    metrics: dict[str, Any] = {
        "num_examples": len(value),
        "brier": float(np.mean(error**2)),
        "ece": float(sum(item["n"] * abs(item["p"] - item["y"]) for item in bins) / len(value)),
        "calibration": bins,
    }
    if correct.any() and not correct.all():
        metrics["auc"] = float(roc_auc_score(correct, value))
        metrics["explained_variance"] = float(1 - error.var() / correct.var())
        if max_reference_nll_N is not None:
            metrics["auc_max_reference_nll"] = float(roc_auc_score(correct, -max_reference_nll_N))
    pairs = _pair_scores(value, correct, problem_ids_N)
    if len(pairs):
        metrics["pairwise_accuracy"] = float(np.mean(pairs))
        metrics["num_pairs"] = len(pairs)
    return metrics


def _calibration(value: np.ndarray, correct: np.ndarray, num_bins: int = 10) -> list[dict[str, float]]:
    place = np.minimum((value * num_bins).astype(int), num_bins - 1)
    present = [place == b for b in range(num_bins) if (place == b).any()]
    return [{"p": float(value[m].mean()), "y": float(correct[m].mean()), "n": int(m.sum())} for m in present]


def _pair_scores(value: np.ndarray, correct: np.ndarray, problem_ids: np.ndarray) -> np.ndarray:
    """1 where a right solution's value is above a wrong one's of the same problem, 0.5 for ties."""
    scores = []
    _, group = np.unique(problem_ids.astype(str), return_inverse=True)
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        right, wrong = value[members][correct[members]], value[members][~correct[members]]
        difference = right[:, None] - wrong[None, :]
        scores.append(((difference > 0) + 0.5 * (difference == 0)).ravel())
    return np.concatenate(scores) if scores else np.empty(0)
