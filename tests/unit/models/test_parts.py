"""A rank's part of a tensor is set from that part alone."""

import torch
from torch import nn
from torch.distributed.tensor import Shard, distribute_tensor

from tests.distributed.harness import run_on_ranks
from wmtp.models.parts import fill, fill_like, without_wrappers


def parts(world):
    """Of three rows on two ranks, and of one, of which the second rank has none."""
    asked, filled = [], []
    for rows in (3, 1):
        whole = torch.arange(rows * 2.0).view(rows, 2)
        held, other = (distribute_tensor(torch.zeros(rows, 2), world.mesh, [Shard(0)]) for _ in range(2))

        def read(part, whole=whole):
            asked.append([(one.start, one.stop) for one in part])
            return whole[part or ...]

        fill(held, read)
        fill_like(other, held)
        filled.append(torch.equal(held.full_tensor(), whole) and torch.equal(other.full_tensor(), whole))
    return asked, filled


def test_each_rank_asks_for_its_rows(tmp_path):
    first, second = run_on_ranks(2, parts, tmp_path=tmp_path)
    assert first == ([[(0, 2), (0, 2)], [(0, 1), (0, 2)]], [True, True])
    assert second == ([[(2, 3), (0, 2)]], [True, True])


def test_a_tensor_that_is_not_sharded_is_set_whole():
    held, other = nn.Parameter(torch.zeros(2)), torch.zeros(2)
    with torch.no_grad():
        fill(held, lambda part: torch.ones(2)[part or ...])
        fill_like(other, held)
    assert held.tolist() == other.tolist() == [1, 1]


def test_names_are_those_before_blocks_were_wrapped_and_matrices_adapted():
    name = "model.layers.1._checkpoint_wrapped_module.self_attn.q_proj.base_layer.weight"
    assert without_wrappers(name) == "model.layers.1.self_attn.q_proj.weight"
