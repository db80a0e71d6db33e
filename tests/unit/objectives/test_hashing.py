"""Random numbers from integers."""

import torch

from wmtp.objectives.hashing import hashed_uniform, splitmix64


def test_splitmix64_gives_the_published_sequence():
    """The first outputs for seed 0 of the authors' own implementation (prng.di.unimi.it/splitmix64.c)."""
    golden = 0x9E3779B97F4A7C15
    states = [(i * golden) % 2**64 for i in range(3)]
    found = splitmix64(torch.tensor([state - 2**64 if state >= 2**63 else state for state in states]))
    assert [value % 2**64 for value in found.tolist()] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_hashed_uniform_is_uniform_and_depends_on_every_key():
    x = hashed_uniform(3, torch.arange(20000))
    assert x.min() >= 0 and x.max() < 1 and abs(x.mean() - 0.5) < 0.01 and abs(x.var() - 1 / 12) < 0.003
    assert not torch.equal(x, hashed_uniform(4, torch.arange(20000)))
