"""Draws by hash: of the thing and the seed alone, even, and the same as SplitMix64 elsewhere."""

import numpy as np
import torch

from wmtp.objectives.hashing import splitmix64
from wmtp.problems.draw import drawn, in_order, key_of, keys_of, mixed, solution_keys

NAMES = [f"problem {i}" for i in range(5000)]


def test_mixing_is_splitmix64():
    bits = np.array([0, 1, 2**63, 2**64 - 1, 0x123456789ABCDEF], dtype=np.uint64)
    assert mixed(bits).tolist() == splitmix64(torch.from_numpy(bits.view(np.int64))).numpy().view(np.uint64).tolist()
    assert int(mixed(np.zeros(1, np.uint64))[0]) == 0xE220A8397B1DCDAF, "the published first output for state 0"


def test_a_key_tells_texts_and_their_division():
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of("abc", ""), key_of("c", "ab")}) == 5
    assert keys_of(["a", "b"]).tolist() == [key_of("a"), key_of("b")] and keys_of([]).dtype == np.uint64
    assert set(solution_keys("p", ["x", "y"]).tolist()).isdisjoint(solution_keys("q", ["x", "y"]).tolist())


def test_what_is_drawn_does_not_depend_on_the_others_or_on_the_order():
    keys = keys_of(NAMES)
    first = set(keys[in_order("s", keys)[:1000]].tolist())
    shuffled = np.random.default_rng(0).permutation(keys)
    assert set(shuffled[in_order("s", shuffled)[:1000]].tolist()) == first
    longer = np.append(keys, keys_of(["one more"]))
    assert len(first - set(longer[in_order("s", longer)[:1000]].tolist())) <= 1


def test_seeds_draw_independently_and_evenly():
    """Two draws of a fifth share a fifth; of four parts of all 64 bits, each has a quarter. Four standard deviations."""
    keys = keys_of(NAMES)
    first, second = (set(in_order(seed, keys)[:1000].tolist()) for seed in ("0", "1"))
    assert abs(len(first & second) - 200) < 4 * 12.7
    quarters = np.bincount((drawn("0", keys) >> np.uint64(62)).astype(int), minlength=4)
    assert all(abs(quarters - 1250) < 4 * 30.7)
