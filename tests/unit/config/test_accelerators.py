"""Devices by the names that CUDA has for them."""

import pytest

from wmtp.config.accelerators import ACCELERATORS, known


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("h100-pcie", "H100 PCIe"),
    ],
)
def test_a_device_is_known_by_its_words(device, name):
    assert known(device).name == name


@pytest.mark.parametrize("device", ["NVIDIA A1000", "NVIDIA A10G", "Tesla V100-SXM2-16GB", "cpu", ""])
def test_what_only_looks_alike_is_not_known(device):
    assert known(device) is None


def test_every_one_is_found_by_its_own_key():
    assert all(known(one.key) is one for one in ACCELERATORS)
