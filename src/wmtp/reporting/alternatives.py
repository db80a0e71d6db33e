"""What each figure shows, in words and numbers: for those who do not see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wmtp.reporting.findings import decisive, signed

Report = Mapping[str, Any]


def alternatives(report: Report) -> dict[str, str]:
    """Name -> text of every figure, with the values that it draws."""
    score = report["score"]
    words = {"SCORE": score["name"], "NOUN": score["noun"]}
    return {name: f"{title.format(**words)}: {'; '.join(values(report))}." for name, (title, values) in _FIGURES.items()}


def _interval(entry: Mapping[str, Any]) -> str:
    return f"{entry['mean']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"


def _pass_at_1(report: Report) -> list[str]:
    return [
        f"{arm}{' (one checkpoint)' if arm in report['beside'] else ''} {_interval(entry['pass_at_k']['1'])}, "
        f"greedy {entry['greedy']['mean']:.3f}"
        for arm, entry in (*report["arms"].items(), *report["beside"].items())
        if entry["pass_at_k"]
    ]


def _difference(report: Report) -> list[str]:
    found = {arm: entry["difference"] for arm, entry in report["arms"].items() if entry.get("difference")}
    return [
        f"{arm} {signed(one['mean'])} ({_range(one['low'], one['high'])}), the widest {_range(*decisive(one))}"
        for arm, one in found.items()
    ]


def _range(low: float, high: float) -> str:
    return f"{signed(low)} to {signed(high)}"


def _pass_at_k(report: Report) -> list[str]:
    return [
        f"{arm} " + ", ".join(f"{one['mean']:.3f} at {k}" for k, one in entry["pass_at_k"].items())
        for arm, entry in report["arms"].items()
    ]


def _by_difficulty(report: Report) -> list[str]:
    return [
        f"{arm} " + ", ".join(f"{one['pass@1']:.3f} at {level}" for level, one in entry["by_difficulty"].items())
        for arm, entry in report["arms"].items()
    ]


def _nll_per_head(report: Report) -> list[str]:
    return [
        f"{arm} " + ", ".join(f"{value:.3f} {head}" for head, value in entry["nll"].items())
        for arm, entry in report["arms"].items()
    ]


def _learning_curves(report: Report) -> list[str]:
    texts = []
    for run, curves in report["curves"].items():
        points = curves["validation"] or curves["train"]
        if points:
            first, last = points[0], points[-1]
            texts.append(f"{run} from {first['value']:.3f} to {last['value']:.3f} after {last['tokens']:,.0f} tokens")
    return texts


def _weights(report: Report) -> list[str]:
    texts = []
    for arm, entry in report["arms"].items():
        weights = entry["weights"] or {}
        means = [f"{weights[key]:.2f} on {key.removesuffix('_mean')} tokens" for key in _MEANS if weights.get(key) is not None]
        kinds = [f"{value:.2f} on {kind}" for kind, value in weights.get("by_noise_kind", {}).items() if value is not None]
        if entry["is_weighted"] and means:
            texts.append(f"{arm} " + ", ".join(means + kinds))
    return texts


_MEANS = ("signal_mean", "noise_mean")


def _calibration(report: Report) -> list[str]:
    points = (report["critic"] or {}).get("calibration") or []
    return [f"of those given {point['p']:.2f} a share of {point['y']:.2f} is correct ({point['n']})" for point in points]


_FIGURES: dict[str, tuple[str, Callable[[Report], list[str]]]] = {
    "pass_at_1": ("pass@1 of every arm, with 95 % intervals over tasks", _pass_at_1),
    "difference": ("Difference from the baseline in {SCORE}, with 95 % intervals over {NOUN}s", _difference),
    "pass_at_k": ("pass@k", _pass_at_k),
    "by_difficulty": ("pass@1 by difficulty", _by_difficulty),
    "nll_per_head": ("Held-out nll of every head", _nll_per_head),
    "learning_curves": ("Held-out nll of head 0 while training", _learning_curves),
    "weights": ("Mean training weights", _weights),
    "calibration": ("The critic's calibration on unseen problems", _calibration),
}
