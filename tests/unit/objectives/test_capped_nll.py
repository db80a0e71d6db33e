"""Capped logits' NLL against materialised float64 logits and plain autograd."""

import pytest
import torch

from wmtp.objectives import capped_nll as module
from wmtp.objectives.capped_nll import capped_nll, soft_cap
from wmtp.types import IGNORE_INDEX


def oracle(hidden, weight, labels, cap):
    logits = cap * torch.tanh((hidden.double() @ weight.double().T) / cap)
    return torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")


@pytest.mark.parametrize("rows", [3, 512])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_value_and_gradients_are_the_oracles(monkeypatch, rows, dtype):
    monkeypatch.setattr(module, "CHUNK_ROWS", rows)
    monkeypatch.setattr(module, "CHUNK_BYTES", {"cpu": 0})
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 8, generator=generator, dtype=torch.float64).to(dtype) for n in (10, 13))
    labels = torch.randint(13, (10,), generator=generator)
    labels[[2, 7]] = IGNORE_INDEX
    scale = torch.randn(10, generator=generator)
    found, due = [], []
    for function, results in ((capped_nll, found), (oracle, due)):
        inputs = [x.clone().requires_grad_() for x in (hidden, weight)]
        nll = function(*inputs, labels, 2.0)
        results += [nll, *torch.autograd.grad((nll * scale).sum(), inputs)]
    exact = dtype != torch.bfloat16
    assert found[0].dtype == torch.promote_types(dtype, torch.float32) and (found[0][[2, 7]] == 0).all()
    for is_, must in zip(found, due, strict=True):
        torch.testing.assert_close(is_.double(), must.double(), rtol=1e-5 if exact else 0.05, atol=1e-5 if exact else 0.05)


def test_no_target_is_no_loss_and_no_gradient():
    hidden, weight = torch.ones(3, 2, requires_grad=True), torch.ones(4, 2, requires_grad=True)
    nll = capped_nll(hidden, weight, torch.full((3,), IGNORE_INDEX), 5.0)
    nll.sum().backward()
    assert (nll == 0).all() and not hidden.grad.any()


def test_the_cap_bounds_and_hardly_changes_what_is_small():
    x = torch.tensor([-1e4, -0.1, 0.0, 0.1, 1e4])
    assert soft_cap(x, 30.0).tolist() == pytest.approx([-30.0, -0.1, 0.0, 0.1, 30.0], abs=1e-5)
