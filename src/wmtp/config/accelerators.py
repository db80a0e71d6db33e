"""What the makers of accelerators say of them, by the name under which CUDA knows them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Accelerator:
    """One device.

    `name`: the words that its CUDA name holds, in any order. `flops`: dense peak by computing dtype, FLOP/s; float32 without
    tensor cores, as torch computes it. `memory_bytes`, and what moves of it per second.
    """

    name: str
    flops: dict[str, float]
    memory_bytes: int
    bytes_per_s: float

    @property
    def key(self) -> str:
        """The name that a person types: `h100-pcie`."""
        return self.name.lower().replace(" ", "-")


def _of(name: str, bfloat16: float, float32: float, memory_gib: int, terabytes_per_s: float) -> Accelerator:
    peaks = {"bfloat16": bfloat16 * 1e12, "float32": float32 * 1e12}
    return Accelerator(name, peaks, memory_gib * 2**30, terabytes_per_s * 1e12)


ACCELERATORS = (
    _of("B200", 2250, 75, 180, 8.0),
    _of("H200", 989, 67, 141, 4.8),
    _of("H100 PCIe", 756, 51, 80, 2.0),
    _of("H100 NVL", 835, 60, 94, 3.9),
    _of("H100", 989, 67, 80, 3.35),
    _of("A100 40GB", 312, 19.5, 40, 1.555),
    _of("A100", 312, 19.5, 80, 2.0),
    _of("L40S", 362, 91.6, 48, 0.864),
    _of("A10", 125, 31.2, 24, 0.6),
    _of("L4", 121, 30.3, 24, 0.3),
    _of("RTX 5090", 209, 105, 32, 1.79),
    _of("RTX 4090", 165, 82.6, 24, 1.008),
    _of("RTX 3090", 71, 35.6, 24, 0.936),
)
"""The first whose words are all in a device's name is meant. Dense figures of the data sheets, with float32 accumulation."""


def known(device_name: str) -> Accelerator | None:
    """The accelerator of a CUDA name such as `NVIDIA A100-SXM4-80GB`, or of a key such as `a100`; None for others."""
    words = set(re.findall(r"[a-z0-9]+", device_name.lower()))
    return next((one for one in ACCELERATORS if set(one.name.lower().split()) <= words), None)
