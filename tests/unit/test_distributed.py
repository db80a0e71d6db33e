"""The few collectives on real gloo ranks, and what a seed decides."""

import random

import numpy as np
import pytest
import torch
import torch.distributed as dist

from tests.distributed.harness import run_on_ranks
from wmtp.distributed import generator_states, join_world, restore_generators, seed_everything, stream_seed
from wmtp.errors import ConfigError


def exchanged(world):
    lengths = {0: 3, 1: 0, 2: 1}
    mine = torch.arange(lengths[world.rank]) + 10 * world.rank
    largest = world.all_reduce(torch.tensor(float(world.rank)), op=dist.ReduceOp.MAX).item()
    total = torch.tensor(1.0 + world.rank)
    assert world.all_reduce(total) is total, "in place"
    return world.all_gather(mine).tolist(), world.gather_objects({"rank": world.rank}), total.item(), largest, world.is_main


@pytest.mark.parametrize("ranks", [1, 3])
def test_what_ranks_exchange_comes_in_rank_order_to_all_of_them(ranks, tmp_path):
    joined = [0, 1, 2, *([20] if ranks == 3 else [])]
    objects = [{"rank": rank} for rank in range(ranks)]
    found = run_on_ranks(ranks, exchanged, tmp_path=tmp_path)
    expected = (joined, objects, sum(range(1, ranks + 1)), ranks - 1)
    assert [one[:4] for one in found] == [expected] * ranks
    assert [one[4] for one in found] == [rank == 0 for rank in range(ranks)]


def drawn():
    return random.random(), float(np.random.random()), torch.rand(2).tolist(), float(np.random.normal())


def drawn_on_a_rank(world):
    return drawn()


def test_ranks_start_alike_from_the_seed_that_they_joined_with(tmp_path):
    one, other = run_on_ranks(2, drawn_on_a_rank, tmp_path=tmp_path)
    seed_everything(0)
    assert one == other == drawn()


def test_a_seed_decides_what_every_generator_draws_and_a_stream_something_else():
    seen = []
    for seed, *stream in ((0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 1)):
        seed_everything(seed, *stream)
        first = drawn()
        drawn()
        seed_everything(seed, *stream)
        assert drawn() == first
        seen.append(first)
    for generator in range(4):
        assert len({str(one[generator]) for one in seen}) == len(seen)
    seed_everything(5)
    alone = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), alone), "a seed alone is torch's own"


def test_streams_of_a_seed_do_not_meet():
    """Of a rank, and of a rank at a step after the first."""
    streams = [(seed, rank, *step) for seed in range(4) for rank in range(4) for step in ((), (1,), (2,), (1000,))]
    seeds = {stream_seed(*stream) for stream in streams}
    assert len(seeds) == len(streams) and all(0 <= seed < 2**64 for seed in seeds) and max(seeds) > 2**60


def test_generators_go_on_where_they_were_also_in_the_middle_of_a_pair_of_normals():
    """NumPy's and Python's generators keep the second of a pair of normal numbers for the next call."""
    device = torch.device("cpu")
    seed_everything(11, 1)
    np.random.normal(), random.gauss(0, 1)
    states = generator_states(device)

    def draw():
        return drawn(), random.gauss(0, 1), torch.randn(1).item()

    expected = draw()
    seed_everything(12)
    assert draw() != expected
    restore_generators(states, device)
    assert draw() == expected


def test_a_process_without_torchruns_environment_is_a_world_of_one_and_leaves_it(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    with pytest.raises(ZeroDivisionError), join_world("cpu", seed=3) as world:
        assert (world.rank, world.size, world.is_main, world.device) == (0, 1, True, torch.device("cpu"))
        assert world.mesh.size() == 1 and dist.is_initialized()
        _ = 1 / 0
    assert not dist.is_initialized()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_rank_without_a_gpu_of_its_own_is_told_so():
    with pytest.raises(ConfigError, match="ranks on a host with 0 GPUs: every rank needs its own"), join_world("cuda", seed=0):
        pass
