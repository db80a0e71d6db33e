"""What the loop keeps and says, by hand; what it does on ranks is in tests/distributed."""

import math
import statistics

import pytest
import torch

from wmtp.errors import NumericsError
from wmtp.training.loop import SPIKE_WINDOW, LoopState, _is_not_finite, _judge, _spikes, _validated
from wmtp.training.meters import StepMetrics


def rows(*losses):
    return [{"step": 10 * (i + 1), "train/loss": loss} for i, loss in enumerate(losses)]


def test_a_spike_is_measured_in_deviations_of_the_last_flushes():
    losses = [2.0, 1.0, 1.2, 0.9, 1.1, 1.3, 0.8, 1.0, 1.1, 0.9, 1.0, 1.2]
    window = losses[-SPIKE_WINDOW:]
    expected = (3.0 - sum(window) / len(window)) / statistics.pstdev(window)
    assert _spikes(rows(*losses), 3.0) == pytest.approx(expected)
    assert expected > 6


def test_no_spike_below_the_mean_or_before_there_are_enough_flushes():
    assert _spikes(rows(*[1.0, 1.1] * 5), 0.1) == 0.0
    assert _spikes(rows(*[1.0, 1.1] * 4), 1e9) == 0.0
    assert math.isfinite(_spikes(rows(*[1.0] * 10), 2.0))


def validated(*values):
    """A state that has been through validations with early stopping, and the steps that were the best then."""
    state, improved = LoopState(), []
    for number, value in enumerate(values, 1):
        state.step = 10 * number
        state.rows.append({"step": state.step, "val/nll_head0": value})
        if _judge(state, "val/nll_head0"):
            improved.append(state.step)
    return state, improved


def test_the_result_is_the_best_validated_row():
    state, improved = validated(3.0, 2.0, 2.5, 2.0, 2.1)
    assert improved == [10, 20] and state.num_worse == 3
    assert (state.result_step, state.result_row["val/nll_head0"]) == (20, 2.0), "an equal one later is no improvement"


def test_without_early_stopping_the_result_is_the_last_row():
    state = LoopState(step=30, rows=[{"step": 10, "val/nll_head0": 1.0}, {"step": 30, "val/nll_head0": 2.0}])
    assert state.result_row["val/nll_head0"] == 2.0


@pytest.mark.parametrize(
    ("loss", "norm", "broken"),
    [(1.0, 2.0, False), (math.inf, 2.0, True), (math.nan, 2.0, True), (1.0, math.nan, True), (1.0, math.inf, True)],
)
def test_a_loss_that_is_no_number_is_seen_even_where_its_gradient_is_one(loss, norm, broken):
    metrics = StepMetrics(ratios={"train/loss": (torch.tensor(loss), torch.tensor(1.0))})
    assert bool(_is_not_finite(metrics, torch.tensor(norm))) == broken


def test_a_validation_that_is_no_number_ends_the_training_and_is_named():
    model = torch.nn.Dropout()
    assert _validated(model, lambda: {"val/brier": float(model.training)}, 5) == {"val/brier": 0.0}
    assert model.training
    with pytest.raises(NumericsError, match="val/brier=nan at step 5"):
        _validated(model, lambda: {"val/auc": 0.5, "val/brier": math.nan}, 5)
