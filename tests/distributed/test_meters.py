"""What a row of metrics says, against lists that were kept of everything; and what ends a training."""

import math

import pytest
import torch

from tests.distributed.harness import run_on_ranks
from wmtp.errors import NumericsError
from wmtp.training.loop import _Gate
from wmtp.training.meters import Meters, StepMetrics, add_ratio

RANKS, STEPS, MICRO = 2, 3, 2


def observation(rank, step, micro):
    """(weights, losses) of one micro-batch of a rank: as many as it happens to have."""
    generator = torch.Generator().manual_seed(100 * rank + 10 * step + micro)
    number = 2 + (rank + step + micro) % 3
    return torch.rand(number, generator=generator, dtype=torch.float64) - 0.3


def metered(world):
    meters, rows = Meters(world), []
    for step in range(STEPS):
        metrics = StepMetrics()
        for micro in range(MICRO):
            values = observation(world.rank, step, micro)
            add_ratio(metrics, "mean", values.sum(), torch.tensor(len(values)))
            add_ratio(metrics, "nothing", torch.tensor(0.0), torch.tensor(0.0))
        everything = torch.cat([observation(world.rank, step, micro) for micro in range(MICRO)])
        metrics.maxima["max"], metrics.minima["min"] = everything.max(), everything.min()
        metrics.maxima["both"], metrics.minima["-both"] = everything.max(), everything.min()
        meters.add(metrics)
        if step != 0:
            rows.append(meters.flush())
    return [*rows, meters.flush()]


def test_a_flush_is_over_all_ranks_steps_and_micro_batches_since_the_last(tmp_path):
    first, other = run_on_ranks(RANKS, metered, tmp_path=tmp_path)
    assert first == other, "every rank has the same row"
    for row, steps in zip(first, ([0, 1], [2]), strict=False):
        seen = [float(v) for r in range(RANKS) for s in steps for m in range(MICRO) for v in observation(r, s, m)]
        assert row["mean"] == pytest.approx(math.fsum(seen) / len(seen))
        assert (row["max"], row["min"], row["both"], row["-both"]) == (max(seen), min(seen), max(seen), min(seen))
        assert "nothing" not in row, "nothing out of nothing is not a number"
    assert first[2] == {}


def gated(world, flags):
    """What the gate says of {name: (rank, step) at which it broke}, five steps watched and then asked."""
    gate = _Gate(world)
    for step in range(5):
        gate.watch({name: torch.tensor((world.rank, step) == broken) for name, broken in flags.items()}, step)
    try:
        gate.check()
    except NumericsError as error:
        return str(error)
    return None


def test_the_gate_names_the_first_step_at_which_any_rank_broke_anything(tmp_path):
    flags = {"a loss is NaN": (1, 3), "weights are negative": (0, 1), "fine": None}
    assert (
        run_on_ranks(2, gated, flags, tmp_path=tmp_path) == ["weights are negative at step 2; the last checkpoint is kept"] * 2
    )
    assert run_on_ranks(2, gated, {"fine": None}, tmp_path=tmp_path) == [None, None]
