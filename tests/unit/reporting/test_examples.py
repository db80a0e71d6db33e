"""Which examples are shown, and how their tokens are coloured."""

from typing import Any

import numpy as np
import pytest

from wmtp.reporting.examples import WEIGHT_BINS, select_examples, spans, weight_class
from wmtp.reporting.inputs import Run, Tasks


def example(text: str, kind: str, weight: float = 1.0) -> dict[str, Any]:
    return {
        "tokens": ["prompt ", text],
        "weights": [None, weight],
        "is_noise": [False, bool(kind)],
        "prompt_len": 1,
        "is_correct": True,
        "noise_kind": kind,
    }


def run_with(arm: str, examples: list[dict[str, Any]]) -> Run:
    empty = np.empty(0, dtype=int)
    return Run(f"{arm}-s0", arm, 0, {}, Tasks((), empty, empty, empty, empty), {}, [], examples)


def test_noise_kinds_take_turns_and_arms_share_an_example():
    rho1 = run_with("rho1", [example("a", "comments", 0.0), example("b", "comments"), example("c", "corrupted")])
    verifiable = run_with("verifiable", [example("a", "comments", 2.0), example("d", "")])
    chosen = select_examples({"rho1": rho1, "verifiable": verifiable}, 3)
    assert [item["noise_kind"] for item in chosen] == ["comments", "corrupted", ""]
    assert chosen[0]["weights"] == {"rho1": [None, 0.0], "verifiable": [None, 2.0]}
    assert select_examples({}, 3) == []


def test_no_more_examples_than_asked_for():
    run = run_with("rho1", [example(str(i), "comments") for i in range(5)])
    assert len(select_examples({"rho1": run}, 2)) == 2


@pytest.mark.parametrize("index", range(len(WEIGHT_BINS)))
def test_weight_classes_grow_with_the_weight(index):
    assert weight_class(WEIGHT_BINS[index] - 1e-6) == f"w{index}"
    assert weight_class(WEIGHT_BINS[index]) == f"w{index + 1}"


def test_spans_leave_the_prompt_out_and_mark_noise():
    chosen = select_examples({"rho1": run_with("rho1", [example("x", "comments", 0.0)])}, 1)[0]
    assert spans(chosen, "rho1") == [{"text": "x", "css": "w0 noise", "title": "weight 0.00, noise", "number": "0.0"}]
