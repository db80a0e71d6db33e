"""What a processor reaches, with a clock that a test turns."""

import pytest

from wmtp.config.training import ModelConfig
from wmtp.doctor import speed
from wmtp.doctor.speed import reached_flops
from wmtp.models.flops import model_flops
from wmtp.models.skeleton import skeleton

SHAPE = {"hidden_size": 16, "intermediate_size": 24, "n_heads": 2, "n_kv_heads": 2}


def made(n_layers, n_future):
    config = ModelConfig(**SHAPE, n_layers=n_layers, n_future=n_future)
    return skeleton(config, vocab_size=64, max_length=32, n_future=n_future, folder=None)


@pytest.fixture
def clock(monkeypatch):
    """Half a second passes whenever somebody looks."""
    now = [0.0]

    def look():
        now[0] += 0.5
        return now[0]

    monkeypatch.setattr(speed.time, "process_time", look)


@pytest.mark.parametrize("n_future", [1, 3])
def test_it_is_the_operations_of_two_layers_and_the_heads_over_their_time(clock, n_future):
    flops = model_flops(made(2 + n_future, n_future))
    targets = 3 * sum(10 - max(4 - 1 - h, 0) - 1 - h for h in range(n_future))
    pairs = sum(layer.per_pair for layer in flops.attention) * 3 * 55
    expected = 30 * flops.per_token + targets * flops.per_target + pairs
    assert reached_flops(made(9, n_future), 3, 10, 4) == pytest.approx(expected / 0.5)


def test_a_critic_has_no_unembedding(clock):
    flops = model_flops(made(3, 1))
    expected = 30 * flops.per_token + sum(layer.per_pair for layer in flops.attention) * 3 * 55
    assert reached_flops(made(9, 1), 3, 10, 4, reads_values=True) == pytest.approx(expected / 0.5)


def test_what_would_take_minutes_is_not_tried(monkeypatch):
    monkeypatch.setattr(speed, "MOST_FLOPS", 1e3)
    assert reached_flops(made(9, 1), 3, 10, 4) is None
