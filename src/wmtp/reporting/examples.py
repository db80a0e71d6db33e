"""Pick training examples to show token by token: the same examples for every arm where the arms share them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from wmtp.reporting.inputs import Run

WEIGHT_BINS = (0.05, 0.5, 0.9, 1.1, 1.6, 2.2)
"""Upper edges of the colour classes w0..w5; what is above the last is w6."""


def select_examples(runs: dict[str, Run], num_examples: int) -> list[dict[str, Any]]:
    """Up to `num_examples` examples, noise kinds in turn, each with its weights in every arm that recorded it.

    Args:
        runs: one run per arm, in reading order.
    """
    by_key: dict[tuple[str, ...], dict[str, Any]] = {}
    for arm, run in runs.items():
        for example in run.examples:
            shown = by_key.setdefault(
                tuple(example["tokens"]),
                {key: example[key] for key in ("tokens", "is_noise", "prompt_len", "is_correct", "noise_kind")}
                | {"weights": {}},
            )
            shown["weights"][arm] = example["weights"]
    taken: Counter[str] = Counter()
    left = list(by_key.values())
    chosen: list[dict[str, Any]] = []
    while left and len(chosen) < num_examples:
        best = min(
            range(len(left)),
            key=lambda i: (taken[left[i]["noise_kind"]], -len(left[i]["weights"]), not left[i]["noise_kind"], i),
        )
        chosen.append(left.pop(best))
        taken[chosen[-1]["noise_kind"]] += 1
    return chosen


def weight_class(weight: float) -> str:
    """The colour class of one token's weight."""
    return f"w{sum(weight >= edge for edge in WEIGHT_BINS)}"


def spans(example: dict[str, Any], arm: str) -> list[dict[str, str]]:
    """The response's tokens as {"text", "css", "title", "number"}, one each, so that every weight can be read off."""
    rows = []
    columns = zip(example["tokens"], example["weights"][arm], example["is_noise"], strict=True)
    for token, weight, noise in list(columns)[example["prompt_len"] :]:
        css = "" if weight is None else weight_class(weight)
        title = "no weight" if weight is None else f"weight {weight:.2f}"
        rows.append(
            {
                "text": token,
                "css": f"{css} noise".strip() if noise else css,
                "title": title + (", noise" if noise else ""),
                "number": "" if weight is None else f"{weight:.1f}",
            }
        )
    return rows
