"""Random numbers that are functions of integers: not of a generator's state, of ranks, batch sizes or the order of calls."""

from __future__ import annotations

import torch

GOLDEN = -7046029254386353131
"""2^64 divided by the golden ratio, as int64."""


def splitmix64(x: torch.Tensor) -> torch.Tensor:
    """SplitMix64's next output for the state `x`; int64 in and out, arithmetic wraps.

    Source: Steele, Lea and Flood 2014 (OOPSLA), figure 16.
    """

    def shift(value: torch.Tensor, bits: int) -> torch.Tensor:
        return (value >> bits) & ((1 << (64 - bits)) - 1)  # logical, not arithmetic

    x = x + GOLDEN
    x = (x ^ shift(x, 30)) * -4658895280553007687
    x = (x ^ shift(x, 27)) * -7723592293110705685
    return x ^ shift(x, 31)


def as_uniform(bits: torch.Tensor) -> torch.Tensor:
    """The upper 53 of 64 random bits as a number in [0, 1), float64."""
    return ((bits >> 11) & ((1 << 53) - 1)).double() / float(1 << 53)


def hashed_uniform(seed: int, *keys: torch.Tensor) -> torch.Tensor:
    """A uniform number in [0, 1) that depends on the integers alone.

    Args:
        seed: any integer; keys: int64 tensors, broadcast together.
    Returns:
        float64, the keys' common shape.
    """
    state = torch.full((), seed, dtype=torch.int64, device=keys[0].device)
    for key in keys:
        state = splitmix64(state ^ splitmix64(key))
    return as_uniform(state)
