"""Every weighting trains, and the model it makes depends neither on the ranks nor on the micro-batches."""

import pytest
import torch

from tests.distributed.harness import full_state, run_on_ranks
from tests.tables import VOCAB, add_column, make_tables
from wmtp.config.arms import load_arm
from wmtp.config.training import ModelConfig
from wmtp.models.build import build_model, parallelize
from wmtp.tokens.data import TokenData
from wmtp.tokens.loader import TrainLoader
from wmtp.training.steps import LanguageModelStep
from wmtp.training.weight_report import measure
from wmtp.weightings import kind, names

MODEL = ModelConfig(hidden_size=16, intermediate_size=24, n_layers=3, n_heads=2, n_kv_heads=2, n_future=2)
STEPS = 3
KEYS = {"profit": {"threshold": 1 / VOCAB}, "curriculum": {"inner": {"name": "token_cleaning"}}}
"""Where a weighting's own defaults would mask nothing in so short a training, or wrap nothing."""


def train_with_each(world, folder, columns, accumulation):
    """{weighting: full state dict after a few steps of plain gradient descent}."""
    return {name: train(world, folder, columns, accumulation, name) for name in names()}


def train(world, folder, columns, accumulation, name):
    arm = load_arm({"weighting": {"name": name, **KEYS.get(name, {})}}, name)
    needed = {column.name: columns[column.name] for column in arm.weighting.needs.columns}
    data = TokenData.open(folder / "data", "train", columns=needed)
    model = build_model(MODEL, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=3)
    sharded = parallelize(model, world.mesh, dtype="float32", activation_checkpointing=False)
    loader = TrainLoader(data, batch_size=16, num_micro=accumulation, seed=5, rank=world.rank, world_size=world.size)
    statistics = measure(arm, 2, data, seed=3, num_steps=STEPS)
    step_function = LanguageModelStep(world, sharded, arm, 2, num_steps=STEPS, seed=3, statistics=statistics)
    optimizer = torch.optim.SGD(sharded.parameters(), lr=0.5)
    for step in range(STEPS):
        metrics = step_function(loader.micro_batches(step), step)
        broken = [what for what, is_so in metrics.broken.items() if is_so]
        assert not broken, f"{name}, step {step}: {broken}"
        optimizer.step()
        optimizer.zero_grad()
    return full_state(sharded)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The tables' folder, and the folder of every score column that some weighting needs."""
    folder = tmp_path_factory.mktemp("tables")
    make_tables(folder)
    needed = sorted({column.name for name in names() for column in kind(name)().needs.columns})
    return folder, {name: add_column(folder, name, seed) for seed, name in enumerate(needed)}


@pytest.fixture(scope="module")
def alone(tables, tmp_path_factory):
    return run_on_ranks(1, train_with_each, *tables, 1, tmp_path=tmp_path_factory.mktemp("alone"))[0]


def test_every_weighting_trains_the_same_model_on_two_ranks_with_two_micro_batches(tables, alone, tmp_path):
    """Alone, weights that look at the policy come from the training forward itself; here, from a pass before it."""
    together = run_on_ranks(2, train_with_each, *tables, 2, tmp_path=tmp_path)[0]
    for name in names():
        for key, tensor in alone[name].items():
            torch.testing.assert_close(together[name][key], tensor, rtol=1e-3, atol=2e-5, msg=f"{name}: {key}")


def test_every_weighting_makes_a_model_of_its_own(alone):
    models = {name: torch.cat([tensor.flatten() for tensor in state.values()]) for name, state in alone.items()}
    for name, model in models.items():
        for other in models:
            assert other == name or not torch.allclose(model, models[other], rtol=0, atol=1e-5), (name, other)
