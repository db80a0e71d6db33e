"""The critic's loss and gradients against the definition of its targets, token by token in float64."""

import itertools

import numpy as np
import pytest
import torch

from tests.tables import VOCAB
from wmtp.config.schema import CriticConfig
from wmtp.config.training import ModelConfig
from wmtp.models.build import build_model
from wmtp.models.value import ValueModel
from wmtp.tokens.data import TokenData
from wmtp.training.critic_step import CriticStep

ROWS = list(range(1, 40, 3))
STEP = 500


@pytest.fixture(scope="module")
def data(tables):
    return TokenData.open(tables / "data", "train", columns={"reference_nll": tables / "reference"})


def make_model():
    """In float64, with a head that says something."""
    config = ModelConfig(hidden_size=16, intermediate_size=24, n_layers=2, n_heads=2, n_kv_heads=2, n_future=1)
    backbone = build_model(config, vocab_size=VOCAB, max_length=32, pad_token_id=0, eos_token_id=1, seed=3)
    model = ValueModel(backbone, seed=3).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def returns_of(values, reward, prompt, gamma, lam):
    """State -> lambda-return: the mean of all n-step returns, geometrically weighted (Sutton and Barto 2018, 12.2)."""
    last, targets = len(values) - 1, {}
    for state in range(prompt - 1, last):
        steps = last - state  # to the end, where the reward is
        n_step = [gamma**n * values[state + n] for n in range(1, steps)] + [gamma ** (steps - 1) * reward]
        shares = [(1 - lam) * lam ** (n - 1) for n in range(1, steps)] + [lam ** (steps - 1)]
        targets[state] = sum(share * value for share, value in zip(shares, n_step, strict=True))
    targets[last] = reward
    return targets


def error(kind, value, target):
    """Of one state, with the value's gradient."""
    if kind == "mse":
        return (value - target) ** 2
    if kind == "huber":
        size = (value - target).abs()
        return size**2 if size.item() < 0.5 else size - 0.25
    target = min(1.0, max(0.0, target))
    return -(target * value.log() + (1 - target) * (1 - value).log())


def oracle_loss(model, data, config, lam):
    losses = []
    for row in ROWS:
        span = slice(data.offsets[row], data.offsets[row + 1])
        ids = torch.tensor(data.tokens[span].astype(np.int64))[None]
        value = torch.sigmoid(model(ids, torch.tensor(data.columns["reference_nll"][span])[None].double()).double()[0])
        targets = returns_of(value.tolist(), float(data.is_correct[row]), int(data.prompt_lens[row]), config.gamma, lam)
        losses += [error(config.loss, value[state], target) for state, target in targets.items()]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("num_micro", [1, 3])
@pytest.mark.parametrize(
    ("loss", "gamma", "lambda_final"), [("mse", 1.0, 0.9), ("huber", 0.95, 0.5), ("bce", 1.0, 0.0), ("mse", 0.9, 1.0)]
)
def test_loss_and_gradients_are_those_of_the_definition(world, data, loss, gamma, lambda_final, num_micro):
    config = CriticConfig(loss=loss, gamma=gamma, lambda_final=lambda_final, lambda_hold_steps=0, lambda_ramp_steps=1)
    model, oracle = make_model(), make_model()
    bounds = [0, len(ROWS)] if num_micro == 1 else [0, 3, 8, len(ROWS)]
    batches = [data.collate(ROWS[a:b], range(a, b)) for a, b in itertools.pairwise(bounds)]
    metrics = CriticStep(world, model, config)(batches, STEP)
    expected = oracle_loss(oracle, data, config, lambda_final)
    expected.backward()
    above, below = metrics.ratios["train/loss"]
    assert (above / below).item() == pytest.approx(expected.item(), rel=1e-5)
    for (name, ours), theirs in zip(model.named_parameters(), oracle.parameters(), strict=True):
        if theirs.grad is None:
            assert ours.grad is None, name
            continue
        size = theirs.grad.abs().max().item()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5 * size, msg=lambda text, n=name: f"{n}: {text}")


def test_lambda_is_held_and_then_falls_in_a_straight_line(world):
    step = CriticStep(world, None, CriticConfig(lambda_hold_steps=10, lambda_ramp_steps=20, lambda_final=0.8))
    assert [step.lam(at) for at in (0, 10, 15, 20, 30, 1000)] == pytest.approx([1.0, 1.0, 0.95, 0.9, 0.8, 0.8])
    step = CriticStep(world, None, CriticConfig(lambda_hold_steps=10, lambda_ramp_steps=0, lambda_final=0.8))
    assert [step.lam(at) for at in (9, 10, 11)] == pytest.approx([1.0, 1.0, 0.8])


def test_the_mean_value_is_of_the_states_that_are_learnt(world, data):
    model = make_model()
    metrics = CriticStep(world, model, CriticConfig())([data.collate(ROWS, range(len(ROWS)))], STEP)
    values = []
    for row in ROWS:
        span = slice(data.offsets[row], data.offsets[row + 1])
        ids = torch.tensor(data.tokens[span].astype(np.int64))[None]
        value = torch.sigmoid(model(ids, torch.tensor(data.columns["reference_nll"][span])[None]))[0]
        values += value[int(data.prompt_lens[row]) - 1 :].tolist()
    above, below = metrics.ratios["train/value_mean"]
    assert below.item() == len(values) and (above / below).item() == pytest.approx(sum(values) / len(values), rel=1e-5)
