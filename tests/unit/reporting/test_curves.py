"""Tokens needed to reach a loss, by hand."""

import pytest

from wmtp.reporting.curves import curves_of, point_at, tokens_to_reach

POINTS = [
    {"step": 10, "tokens": 100, "value": 1.0},
    {"step": 20, "tokens": 200, "value": 0.5},
    {"step": 30, "tokens": 300, "value": 0.6},
    {"step": 40, "tokens": 400, "value": 0.2},
]


def reach(value: float) -> dict[str, float | None]:
    return tokens_to_reach(POINTS, {"step": 40, "tokens": 400, "value": value})


def test_interpolates_where_the_curve_first_gets_there():
    found = reach(0.55)
    assert (found["tokens"], found["step"], found["frac_of_baseline"]) == pytest.approx((190, 19, 0.475))


def test_the_first_and_the_last_point_count():
    assert reach(1.5)["tokens"] == 100
    assert reach(0.2)["frac_of_baseline"] == pytest.approx(1.0)


def test_a_loss_never_reached_is_said_so():
    assert reach(0.1) == {"target_nll": 0.1, "tokens": None, "step": None, "frac_of_baseline": None}


def test_the_result_is_the_point_of_its_step_wherever_the_curve_ends():
    assert point_at(POINTS, 20) == POINTS[1]
    assert point_at(POINTS, 25) is None


def test_curves_skip_rows_without_the_value():
    history = [
        {"step": 1, "tokens": 5, "train/loss": 2.0},
        {"step": 2, "tokens": 10, "train/loss": 1.0, "val/nll_head0": 0.7},
        {"step": 3, "tokens": 15, "train/loss": None},
    ]
    curves = curves_of(history)
    assert curves["validation"] == [{"step": 2, "tokens": 10, "value": 0.7}]
    assert [point["step"] for point in curves["train"]] == [1, 2]
