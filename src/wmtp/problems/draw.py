"""Draws by hash: whether something is drawn depends on what it is and on the seed, and not on its place among others.

So rows that are appended, reordered or dealt out to other files change nothing about the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def key_of(*texts: str) -> int:
    """64 bits of a hash of the texts: BLAKE2b of one, and of the hashes of several."""
    parts = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
    return int.from_bytes(parts[0] if len(parts) == 1 else hashlib.blake2b(b"".join(parts), digest_size=8).digest(), "little")


def keys_of(texts: Sequence[str]) -> np.ndarray:
    """`key_of` of each text alone, (N,), uint64."""
    return np.frombuffer(b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts), "<u8")


def solution_keys(problem_id: str, codes: Sequence[str]) -> np.ndarray:
    """Of each text as a solution of that problem, (N,), uint64."""
    return mixed(keys_of(codes)) ^ np.uint64(key_of(problem_id))


def drawn(seed: str, keys: np.ndarray) -> np.ndarray:
    """A number of each key, all of 64 bits alike: whose is lowest is drawn first.

    Args:
        seed: also says what is drawn, so that two draws of the same things are independent.
        keys: (N,), uint64.
    Returns:
        (N,), uint64, different for different keys.
    """
    return mixed(keys ^ np.uint64(key_of(seed)))


def in_order(seed: str, keys: np.ndarray) -> np.ndarray:
    """Places of the keys, (N,), in the order in which they are drawn; equal ones as they stand."""
    return np.argsort(drawn(seed, keys), kind="stable")


def mixed(bits: np.ndarray) -> np.ndarray:
    """SplitMix64's next output for each state, uint64; one to one.

    Source: Steele, Lea and Flood 2014 (OOPSLA), figure 16; `wmtp.objectives.hashing` has it for torch's int64.
    """
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))
