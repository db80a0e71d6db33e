"""Optimizers against torch's own."""

import itertools

import pytest
import torch

from wmtp.config.training import HeadNumbers, HeadsConfig, LoraConfig, ModelConfig, OptimConfig
from wmtp.models.build import build_model
from wmtp.models.lora import add_adapters
from wmtp.models.token_order import add_token_order
from wmtp.models.value import ValueModel
from wmtp.training.optim import HeadWarmup, Muon, build_optimizers, lr_factor, orthogonalise


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
    add_token_order(model)
    adamw, muon = build_optimizers(model, OptimConfig())
    owned = [id(p) for optimizer in (adamw, muon) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in model.parameters())
    names = {id(p): name for name, p in model.named_parameters()}
    assert all("_proj" in names[id(p)] for p in muon.param_groups[0]["params"])
    assert len(build_optimizers(model, OptimConfig(name="adamw"))) == 1
    HeadWarmup(model, [adamw, muon], HeadsConfig()).set_learning_rates(0.5, OptimConfig(), 0)
    assert (adamw.param_groups[0]["lr"], muon.param_groups[0]["lr"]) == (2e-3, 0.01)


def decaying(model, optim):
    """Names of the parameters that weight decay alone moves: a step with gradients of zero."""
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    optimizers = build_optimizers(model, optim)
    for p in model.parameters():
        p.grad = torch.zeros_like(p) if p.requires_grad else None
    for optimizer in optimizers:
        optimizer.step()
    return {name for name, p in model.named_parameters() if name in before and not torch.equal(p, before[name])}


@pytest.mark.parametrize("optim", ["adamw", "muon"])
@pytest.mark.parametrize("tied", [True, False])
def test_weight_decay_falls_on_matrices_and_not_on_norms_biases_and_embeddings(optim, tied):
    shape = ModelConfig(
        hidden_size=8, intermediate_size=12, n_layers=2, n_heads=2, n_kv_heads=2, n_future=1, tie_embeddings=tied
    )
    backbone = build_model(shape, vocab_size=20, max_length=8, pad_token_id=0, eos_token_id=1, seed=0)
    with torch.no_grad():
        for p in backbone.parameters():
            p.fill_(0.5)
    matrices = {
        f"{block}.{part}_proj.weight"
        for block in ("model.layers.0", "model.layers.1.blocks.0")
        for part in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down")
    }
    config = OptimConfig(name=optim, weight_decay=0.1)
    assert decaying(backbone, config) == matrices | (set() if tied else {"unembedding.lm_head.weight"})
    critic = ValueModel(backbone, head="mlp")
    own = {"head.1.weight", "nll_projection.weight"}  # head.3.weight starts at zero
    assert decaying(critic, config) == own | {f"backbone.{name}" for name in matrices}


def test_adapters_decay():
    shape = ModelConfig(hidden_size=8, intermediate_size=12, n_layers=2, n_heads=2, n_kv_heads=2, n_future=1)
    model = build_model(shape, vocab_size=20, max_length=8, pad_token_id=0, eos_token_id=1, seed=0)
    add_adapters(model, LoraConfig(rank=2, targets=["q_proj"]), seed=0)
    blocks = ("model.layers.0", "model.layers.1.blocks.0")
    moved = {f"{block}.self_attn.q_proj.lora_A.default.weight" for block in blocks}  # the other factor starts at zero
    assert decaying(model, OptimConfig(name="adamw", weight_decay=0.1)) == moved


def test_adamw_decays_as_torch_does_and_muon_by_its_own_rate():
    weight = torch.full((4, 4), 2.0)
    model = torch.nn.ModuleDict({"mlp": torch.nn.ModuleDict({"up_proj": torch.nn.Linear(4, 4)})})
    for name, rate in (("adamw", 0.004), ("muon", 0.02)):
        block = torch.nn.ModuleDict({"layer": model})
        torch.nn.init.constant_(block.get_parameter("layer.mlp.up_proj.weight"), 2.0)
        decaying(block, OptimConfig(name=name, lr=0.004, muon_lr=0.02, weight_decay=0.1))
        torch.testing.assert_close(block.get_parameter("layer.mlp.up_proj.weight").detach(), weight * (1 - rate * 0.1))


def test_what_a_parameter_is_decides_and_not_its_name():
    """As families name theirs: routers, sinks, convolutions and whatever comes."""
    model = torch.nn.ModuleDict({"wte": torch.nn.Embedding(3, 4), "gate": Odd(), "c_attn": torch.nn.Linear(4, 4)})
    for p in model.parameters():
        torch.nn.init.constant_(p, 0.5)
    for name in ("adamw", "muon"):
        assert decaying(model, OptimConfig(name=name, weight_decay=0.1)) == {"gate.experts", "gate.router", "c_attn.weight"}


class Odd(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.sinks = torch.nn.Parameter(torch.ones(3))
        self.router = torch.nn.Parameter(torch.ones(3, 4))
        self.experts = torch.nn.Parameter(torch.ones(3, 4, 4))


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedule_warms_up_and_ends_at_its_floor(schedule):
    config = OptimConfig(warmup_steps=10, schedule=schedule, min_lr_frac=0.1)
    factors = [lr_factor(config, step, 100) for step in range(100)]
    assert factors[0] == 0.1 and factors[9] == 1.0 and factors[10] == 1.0
    assert factors[-1] == (1.0 if schedule == "constant" else 0.1), "the last step runs at the floor, exactly"
    falling = [factor for factor in factors[10:] if factor < 1]
    assert len(falling) == (0 if schedule == "constant" else 89) and all(a > b for a, b in itertools.pairwise(falling))


@pytest.mark.parametrize(("warmup", "steps"), [(0, 1), (3, 4), (0, 2)])
def test_a_schedule_of_hardly_any_steps_still_ends_at_its_floor(warmup, steps):
    config = OptimConfig(warmup_steps=warmup, min_lr_frac=0.25)
    assert lr_factor(config, steps - 1, steps) == 0.25


def three_heads():
    shape = ModelConfig(hidden_size=8, intermediate_size=12, n_layers=4, n_heads=2, n_kv_heads=2, n_future=3)
    return build_model(shape, vocab_size=20, max_length=8, pad_token_id=0, eos_token_id=1, seed=0)


def test_a_heads_learning_rate_is_scaled_and_nobody_elses():
    model = three_heads()
    factors = HeadNumbers(final=[0.5, 2.0, 3.0], start=[1.0, 4.0, 3.0], ramp_steps=2)
    optimizers = build_optimizers(model, OptimConfig(), heads := HeadsConfig(lr_factors=factors))
    HeadWarmup(model, optimizers, heads).set_learning_rates(0.1, OptimConfig(), 1)
    rates = {id(p): (g["lr"] / g["peak_lr"]) for o in optimizers for g in o.param_groups for p in g["params"]}
    assert len(rates) == len(list(model.parameters()))
    due = {".blocks.0.": 0.075, ".blocks.1.": 0.3, ".blocks.2.": 0.3}
    for name, p in model.named_parameters():
        assert rates[id(p)] == pytest.approx(next((due[part] for part in due if part in name), 0.1)), name


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_what_rests_keeps_its_bits_and_begins_as_if_it_were_the_first_step(name):
    """Weight decay, too. Afterwards its optimizers are those of a model that never rested."""
    config, heads = OptimConfig(name=name, weight_decay=0.1, warmup_steps=2), HeadsConfig(warmup_steps=3)
    model, fresh = three_heads(), three_heads()
    optimizers, plain = build_optimizers(model, config, heads), build_optimizers(fresh, config)
    warmup, before = HeadWarmup(model, optimizers, heads), {n: p.detach().clone() for n, p in model.named_parameters()}
    generator, is_further = torch.Generator().manual_seed(0), {n: ".blocks.1." in n or ".blocks.2." in n for n in before}

    def step(step_number):
        gradients = {n: torch.randn(p.shape, generator=generator) for n, p in model.named_parameters()}
        for n, p in model.named_parameters():
            p.grad = gradients[n].clone()
        warmup.set_learning_rates(1.0, config, step_number)
        for optimizer in warmup.moving(step_number):
            optimizer.step()
            optimizer.zero_grad()
        return gradients

    for number in range(3):
        step(number)
    for n, p in model.named_parameters():
        assert torch.equal(p, before[n]) != is_further[n], n
    with torch.no_grad():
        for n, p in fresh.named_parameters():
            p.copy_(model.get_parameter(n))
    for number, factor in ((3, 0.5), (4, 1.0)):
        gradients = step(number)
        for n, p in fresh.named_parameters():
            p.grad = None if is_further[n] else gradients[n]
        for optimizer in plain:
            for group in optimizer.param_groups:
                group["lr"] = factor * group["peak_lr"]
            optimizer.step()
    for n, p in model.named_parameters():
        if not is_further[n]:
            torch.testing.assert_close(p, fresh.get_parameter(n), msg=n)


def test_without_further_heads_nothing_rests():
    shape = ModelConfig(hidden_size=8, intermediate_size=12, n_layers=2, n_heads=2, n_kv_heads=2, n_future=1)
    model = build_model(shape, vocab_size=20, max_length=8, pad_token_id=0, eos_token_id=1, seed=0)
    heads = HeadsConfig(warmup_steps=3)
    optimizers = build_optimizers(model, OptimConfig(), heads)
    warmup = HeadWarmup(model, optimizers, heads)
    warmup.set_learning_rates(0.5, OptimConfig(), 4)
    assert not warmup.late and warmup.moving(0) == optimizers
    assert all(group["lr"] == 0.5 * group["peak_lr"] for optimizer in optimizers for group in optimizer.param_groups)
