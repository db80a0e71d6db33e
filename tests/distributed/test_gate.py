"""What ends a training, on every rank at once."""

import torch

from tests.distributed.harness import run_on_ranks
from wmtp.errors import NumericsError
from wmtp.training.loop import _Gate


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
    assert run_on_ranks(2, gated, flags, tmp_path=tmp_path) == ["weights are negative at step 2"] * 2
    assert run_on_ranks(2, gated, {"fine": None}, tmp_path=tmp_path) == [None, None]
