"""What a flush says, against the sums written out; on one rank and on two."""

import pytest
import torch

from tests.distributed.harness import run_on_ranks
from wmtp.training.meters import Meters, StepMetrics, add_ratio


def number(value):
    return torch.tensor(float(value), dtype=torch.float64)


def step_of(rank, step):
    """What a rank measured at a step: any numbers that differ everywhere."""
    metrics = StepMetrics()
    metrics.ratios["train/loss"] = (number(3 + rank + 10 * step), number(1 + rank))
    metrics.ratios["weight/selected"] = (number(step), number(rank))
    metrics.maxima["weight/max"] = number(5 * rank - step)
    metrics.minima["weight/min"] = number(2 * rank + step)
    return metrics


def measured(world, steps):
    meters = Meters(world)
    for step in steps:
        meters.add(step_of(world.rank, step))
    return meters.flush(), meters.flush()


@pytest.mark.parametrize("ranks", [1, 2])
def test_ratios_are_of_sums_and_extremes_of_all_over_ranks_and_steps(ranks, tmp_path):
    steps, everyone = (1, 2, 4), [(rank, step) for rank in range(ranks) for step in (1, 2, 4)]
    expected = {
        "train/loss": sum(3 + r + 10 * s for r, s in everyone) / sum(1 + r for r, _ in everyone),
        "weight/max": max(5 * r - s for r, s in everyone),
        "weight/min": min(2 * r + s for r, s in everyone),
    }
    if ranks > 1:
        expected["weight/selected"] = sum(s for _, s in everyone) / sum(r for r, _ in everyone)
    for row, after in run_on_ranks(ranks, measured, steps, tmp_path=tmp_path):
        assert row == pytest.approx(expected), "alone the selected share is of nothing, and is left out"
        assert after == {}, "a flush starts anew"


def test_a_flush_says_what_came_after_the_one_before(world):
    meters = Meters(world)
    meters.add(step_of(0, 7))
    meters.flush()
    meters.add(step_of(0, 1))
    assert meters.flush() == {"train/loss": 13.0, "weight/max": -1.0, "weight/min": 1.0}


def test_nothing_measured_is_an_empty_row(world):
    assert Meters(world).flush() == {}


def test_nan_is_not_lost_among_the_numbers_of_other_steps(world):
    meters = Meters(world)
    for value in (1.0, float("nan"), 2.0):
        metrics = StepMetrics(maxima={"weight/max": number(value)})
        add_ratio(metrics, "train/loss", number(value), number(1))
        meters.add(metrics)
    row = meters.flush()
    assert row["train/loss"] != row["train/loss"] and row["weight/max"] != row["weight/max"]


def test_micro_batches_add_to_one_ratio_in_float64_and_without_a_gradient():
    metrics = StepMetrics()
    loss = torch.tensor(2.0**24, requires_grad=True)
    add_ratio(metrics, "train/loss", loss, torch.tensor(2))
    add_ratio(metrics, "train/loss", torch.tensor(1.0), torch.tensor(3))
    above, below = metrics.ratios["train/loss"]
    assert (above.item(), below.item()) == (2.0**24 + 1, 5) and above.dtype == below.dtype == torch.float64
    assert not above.requires_grad
