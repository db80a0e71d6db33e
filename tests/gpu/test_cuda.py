"""The objective on a GPU against float64 on the CPU, and the device's own generator."""

import warnings

import pytest
import torch

from wmtp.distributed import generator_states, restore_generators, seed_everything
from wmtp.objectives import linear_nll

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


class TwoOfThree:
    """Guesses the scale of two of three rows."""

    most = 0.7

    def __call__(self, rows_R, nll_R):
        return (rows_R % 3 > 0) / 257


@pytest.mark.parametrize("kind", ["plain", "known", "guessed"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
def test_linear_nll_and_its_gradients_match_float64(dtype, bound, kind):
    generator = torch.Generator().manual_seed(0)
    hidden_ND = torch.randn(257, 64, generator=generator, dtype=torch.float64)
    weight_VD = torch.randn(1000, 64, generator=generator, dtype=torch.float64) * 0.1
    labels_N = torch.randint(0, 1000, (257,), generator=generator)
    labels_N[::5] = -100

    def run(device, dtype, **options):
        hidden = hidden_ND.to(device, dtype).requires_grad_()
        weight = weight_VD.to(device, dtype).requires_grad_()
        nll_N = linear_nll(hidden, weight, labels_N.to(device), chunk_size=100, **options)
        nll_N.double().mean().backward()
        return [tensor.detach().double().cpu() for tensor in (nll_N, hidden.grad, weight.grad)]

    options = {
        "plain": {},
        "known": {"scale_N": torch.full((257,), 1 / 257, device="cuda")},
        "guessed": {"guess": TwoOfThree()},
    }
    for ours, oracle in zip(run("cuda", dtype, **options[kind]), run("cpu", torch.float64), strict=True):
        assert float((ours - oracle).abs().max() / oracle.abs().max()) < bound


@pytest.mark.parametrize("kind", ["plain", "known", "guessed"])
def test_the_host_waits_no_oftener_for_more_chunks(kind):
    hidden = torch.randn(257, 64, device="cuda", requires_grad=True)
    weight = torch.randn(1000, 64, device="cuda", requires_grad=True)
    labels, scale = torch.arange(257, device="cuda"), torch.full((257,), 1 / 257, device="cuda")
    options = {"plain": {}, "known": {"scale_N": scale}, "guessed": {"guess": TwoOfThree()}}[kind]
    counts = []
    for chunk_size in (10, 1000):
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always")
                linear_nll(hidden, weight, labels, chunk_size=chunk_size, **options).backward(scale)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        counts.append(len(found))
    assert counts[0] == counts[1]


def test_dropout_on_the_device_goes_on_where_it_was():
    def masks():
        return [torch.nn.functional.dropout(torch.ones(1000, device="cuda"), 0.5).cpu() for _ in range(2)]

    device = torch.device("cuda", torch.cuda.current_device())
    seed_everything(3, 1)
    masks()
    states = generator_states(device)
    expected = masks()
    seed_everything(3, 0)
    assert not torch.equal(masks()[0], expected[0])
    restore_generators(states, device)
    assert all(torch.equal(one, other) for one, other in zip(masks(), expected, strict=True))
