"""Optimizers against torch's own."""

import itertools

import pytest
import torch

from wmtp.config.training import ModelConfig, OptimConfig
from wmtp.models.build import build_model
from wmtp.training.optim import Muon, build_optimizers, lr_factor, orthogonalise, set_learning_rates


@pytest.mark.parametrize("shape", [(12, 12), (8, 20), (20, 8)])
def test_muon_matches_torch_up_to_its_bfloat16_iteration(shape):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    mine = Muon([ours], lr=0.02, momentum=0.95, weight_decay=0.1)
    reference = torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=0.1)
    for _ in range(5):
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        mine.step()
        reference.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved


def test_orthogonalise_flattens_singular_values_and_keeps_their_vectors():
    x = torch.randn(3, 6, 10, generator=torch.Generator().manual_seed(0))
    y = orthogonalise(x)
    assert ((torch.linalg.svdvals(y) > 0.5) & (torch.linalg.svdvals(y) < 1.4)).all()
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    core = u.transpose(1, 2) @ y @ vh.transpose(1, 2)
    off_diagonal = core - torch.diag_embed(torch.diagonal(core, dim1=1, dim2=2))
    assert off_diagonal.abs().max() < 0.05


def test_every_parameter_has_exactly_one_optimizer_and_block_matrices_have_muon():
    model = build_model(ModelConfig(), vocab_size=300, max_length=32, pad_token_id=0, eos_token_id=1, seed=0)
    adamw, muon = build_optimizers(model, OptimConfig())
    owned = [id(p) for optimizer in (adamw, muon) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in model.parameters())
    names = {id(p): name for name, p in model.named_parameters()}
    assert all("_proj" in names[id(p)] for p in muon.param_groups[0]["params"])
    assert len(build_optimizers(model, OptimConfig(name="adamw"))) == 1
    set_learning_rates([adamw, muon], 0.5)
    assert (adamw.param_groups[0]["lr"], muon.param_groups[0]["lr"]) == (2e-3, 0.01)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedule_warms_up_and_ends_at_its_floor(schedule):
    config = OptimConfig(warmup_steps=10, schedule=schedule, min_lr_frac=0.1)
    factors = [lr_factor(config, step, 100) for step in range(101)]
    assert factors[0] == 0.1 and factors[9] == 1.0 and factors[10] == 1.0
    assert factors[100] == pytest.approx(1.0 if schedule == "constant" else 0.1)
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))
