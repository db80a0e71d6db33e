"""bfloat16 weights: rounding's expectation, what compensation keeps, and the optimizer against torch's in float32."""

import pytest
import torch

from tests.distributed.harness import run_on_ranks
from wmtp.objectives.hashing import splitmix64
from wmtp.training.narrow_adamw import NarrowAdamW, rounded_at_random

BETAS = (0.9, 0.95)


def test_the_expectation_is_the_number_and_only_its_neighbours_come(num=20_000):
    x = torch.tensor([1.0 + 2**-10, -3.1415926, 1e-3, 65504.0, 1.0, 0.0, -2.5])
    bits = splitmix64(torch.arange(num * len(x))).view(num, -1)
    drawn = rounded_at_random(x.expand(num, -1).contiguous(), bits).double()
    step = (drawn.amax(0) - drawn.amin(0)).clamp(min=1e-45)
    assert ((drawn.mean(0) - x.double()).abs() <= 5 * step / num**0.5 + 1e-45).all()
    for place, value in enumerate(x.tolist()):
        seen = drawn[:, place].unique().tolist()
        assert seen[0] <= value <= seen[-1] and len(seen) == (1 if value in (1.0, 0.0, -2.5) else 2)


def test_what_is_no_number_stays_none():
    x = torch.tensor([float("nan"), float("inf"), -float("inf")])
    found = rounded_at_random(x, torch.full((3,), 0xFFFF))
    assert found[0].isnan() and found[1:].tolist() == [float("inf"), -float("inf")]


def steps(make, weight, gradients, **options):
    """The weight after a step with each gradient."""
    p = torch.nn.Parameter(weight.clone())
    optimizer = make([p], betas=BETAS, weight_decay=0.1, **options)
    for gradient in gradients:
        p.grad = gradient.to(p.dtype)
        optimizer.step()
    return p.detach().double(), optimizer


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4000, generator=generator).bfloat16()
    gradients = [torch.randn(4000, generator=generator).bfloat16() + 0.5 for _ in range(60)]
    return weight, gradients


def test_compensated_weights_are_float64s_where_plain_ones_do_not_move(problem):
    weight, gradients = problem
    due, _ = steps(torch.optim.AdamW, weight.double(), gradients, lr=2e-5)
    found, optimizer = steps(NarrowAdamW, weight, gradients, lr=2e-5, compensated=True)
    (state,) = optimizer.state.values()
    whole = found + state["compensation"].double()
    moved = (due - weight.double()).norm()
    assert (whole - due).norm() < 0.02 * moved
    plain, _ = steps(torch.optim.AdamW, weight, gradients, lr=2e-5)
    assert (plain - due).norm() > 0.5 * moved


def test_weights_rounded_at_random_are_float32s_on_average(problem):
    weight, gradients = problem
    due, _ = steps(torch.optim.AdamW, weight.float(), gradients, lr=2e-5)
    drawn = torch.stack([steps(NarrowAdamW, weight, gradients, lr=2e-5, seed=seed)[0] for seed in range(64)])
    moved = due - weight.double()
    error = drawn.mean(0) - due
    spacing = 2.0 ** (due.abs().log2().floor() - 7)
    assert (error.abs() <= 5.5 * (drawn.std(0) + spacing / 2) / 8).all()  # every weight
    assert abs(error.mean()) < 0.02 * moved.abs().mean()


def test_the_seed_decides_and_a_resumed_run_goes_on(problem):
    weight, gradients = problem
    whole, _ = steps(NarrowAdamW, weight, gradients, lr=1e-3, seed=3)
    other, _ = steps(NarrowAdamW, weight, gradients, lr=1e-3, seed=4)
    assert torch.equal(whole, steps(NarrowAdamW, weight, gradients, lr=1e-3, seed=3)[0]) and not torch.equal(whole, other)
    half, optimizer = steps(NarrowAdamW, weight, gradients[:30], lr=1e-3, seed=3)
    p = torch.nn.Parameter(half.bfloat16())
    again = NarrowAdamW([p], betas=BETAS, weight_decay=0.1, lr=1e-3, seed=3)
    again.load_state_dict(optimizer.state_dict())
    for gradient in gradients[30:]:
        p.grad = gradient
        again.step()
    assert torch.equal(p.detach().double(), whole)


def sharded(world, compensated):
    from torch.distributed.tensor import Shard, distribute_tensor

    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randn(shape, generator=generator) for shape in ((7, 5), (3,), (7, 5), (3,))]
    params = [torch.nn.Parameter(distribute_tensor(x.bfloat16(), world.mesh, [Shard(0)])) for x in drawn[:2]]
    optimizer = NarrowAdamW(params, lr=1e-2, betas=BETAS, compensated=compensated, seed=5)
    for _ in range(3):
        for p, gradient in zip(params, drawn[2:], strict=True):
            p.grad = distribute_tensor(gradient.bfloat16(), world.mesh, [Shard(0)])
        optimizer.step()
    return [p.full_tensor().float().tolist() for p in params]


@pytest.mark.parametrize("compensated", [False, True])
def test_every_number_of_ranks_rounds_alike(compensated, tmp_path):
    (alone,) = run_on_ranks(1, sharded, compensated, tmp_path=tmp_path)
    assert all(found == alone for found in run_on_ranks(2, sharded, compensated, tmp_path=tmp_path))
