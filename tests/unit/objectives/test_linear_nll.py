"""The NLL and its gradients in all three regimes against materialised float64 logits, and what each regime costs."""

import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from tests.unit.objectives.guesses import Guess
from tests.unit.objectives.labels import random_labels
from tests.unit.waits import waits
from wmtp.objectives.linear_nll import linear_nll, linear_nll_reference
from wmtp.types import IGNORE_INDEX


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 40),
    width=st.integers(1, 8),
    vocab=st.integers(1, 30),
    chunk=st.integers(1, 50),
    seed=st.integers(0, 999),
)
def test_linear_nll_is_the_same_for_every_chunk_size(rows, width, vocab, chunk, seed):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, width, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(vocab, width, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = random_labels(generator, 1, rows, vocab)[0]
    upstream = torch.rand(rows, generator=generator, dtype=torch.float64)
    upstream = upstream.masked_fill(upstream < 0.4, 0.0)
    oracle = linear_nll_reference(hidden, weight, labels)
    exact = torch.autograd.grad(oracle, [hidden, weight], upstream)
    shuffled = upstream[torch.randperm(rows, generator=generator)]
    kinds = [{"scale_N": scale} for scale in (None, upstream, upstream / 3)]
    for guessed in (upstream, -7 * upstream, upstream * (torch.arange(rows) % 2), shuffled, torch.ones_like(upstream)):
        kinds.append({"guess": Guess(guessed)})
    for kind in kinds:
        nll = linear_nll(hidden, weight, labels, chunk_size=chunk, **kind)
        torch.testing.assert_close(nll, oracle, rtol=1e-12, atol=1e-12)
        for a, b in zip(torch.autograd.grad(nll, [hidden, weight], upstream), exact, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_a_guess_is_asked_for_every_valid_row_once_and_works_for_two_backward_passes():
    hidden, weight = torch.randn(9, 2, requires_grad=True), torch.randn(5, 2, requires_grad=True)
    labels = torch.tensor([0, 1, IGNORE_INDEX, 2, 3, 4, IGNORE_INDEX, 0, 1])
    asked = []

    class Odd(Guess):
        def __call__(self, rows, nll):
            asked.append((rows, nll))
            return super().__call__(rows, nll)

    guess = Odd(torch.arange(9) % 2)
    nll = linear_nll(hidden, weight, labels, chunk_size=2, guess=guess)
    rows = torch.cat([rows for rows, _ in asked])
    assert sorted(rows.tolist()) == [0, 1, 3, 4, 5, 7, 8] and max(len(rows) for rows, _ in asked) == 2
    torch.testing.assert_close(torch.cat([nll for _, nll in asked]), nll[rows])
    first = torch.autograd.grad(nll, [hidden, weight], torch.ones(9), retain_graph=True)
    for a, b in zip(torch.autograd.grad(nll, [hidden, weight], torch.ones(9)), first, strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        asked.clear()
        assert not linear_nll(hidden, weight, labels, guess=guess).requires_grad and not asked


def test_a_label_whose_probability_underflows_has_its_nll():
    hidden, weight = (
        torch.tensor([[300.0], [80.0], [1.0]], requires_grad=True),
        torch.tensor([[1.0], [-1.0]], requires_grad=True),
    )
    labels = torch.tensor([1, 1, 1])
    for kind in ({}, {"scale_N": torch.ones(3)}, {"guess": Guess(torch.ones(3))}):
        nll = linear_nll(hidden, weight, labels, **kind)
        torch.testing.assert_close(nll.double(), linear_nll_reference(hidden, weight, labels), rtol=1e-6, atol=0)
        grad_hidden, _ = torch.autograd.grad(nll.sum(), [hidden, weight])
        torch.testing.assert_close(grad_hidden.squeeze(), torch.tensor([2.0, 2.0, 2.0 / (1 + torch.e**-2)]))


@pytest.mark.parametrize("promised", [False, True])
def test_linear_nll_in_bfloat16_is_float32_and_near_the_oracle(promised):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(33, 16, generator=generator).bfloat16().requires_grad_()
    weight = torch.randn(50, 16, generator=generator).bfloat16().requires_grad_()
    labels = random_labels(generator, 1, 33, 50)[0]
    scale = torch.ones(33) if promised else None
    nll, oracle = linear_nll(hidden, weight, labels, scale_N=scale), linear_nll_reference(hidden, weight, labels)
    assert nll.dtype == torch.float32
    torch.testing.assert_close(nll.double(), oracle, rtol=1e-5, atol=1e-5)
    (ours,) = torch.autograd.grad(nll.sum(), weight)
    (exact,) = torch.autograd.grad(oracle.sum(), weight)
    torch.testing.assert_close(ours, exact, rtol=0.02, atol=0.03)


def test_rows_without_upstream_gradient_cost_no_backward_work():
    """A row of NaN would poison the weight gradient if it were touched."""
    hidden = torch.randn(4, 3)
    hidden[2] = float("nan")
    hidden.requires_grad_()
    weight = torch.randn(5, 3, requires_grad=True)
    nll = linear_nll(hidden, weight, torch.tensor([0, 1, 2, 3]))
    (grad_hidden, grad_weight) = torch.autograd.grad(nll, [hidden, weight], torch.tensor([1.0, 1.0, 0.0, 1.0]))
    assert torch.isfinite(grad_weight).all() and (grad_hidden[2] == 0).all()


def test_rows_promised_no_gradient_cost_no_backward_work():
    hidden = torch.tensor([[1.0, 2.0], [float("nan"), 0.0], [3.0, 4.0]], requires_grad=True)
    weight = torch.randn(5, 2, requires_grad=True)
    upstream = torch.tensor([1.0, 0.0, 2.0])
    nll = linear_nll(hidden, weight, torch.tensor([0, 1, IGNORE_INDEX]), scale_N=upstream)
    grad_hidden, grad_weight = torch.autograd.grad(nll, [hidden, weight], upstream)
    assert torch.isfinite(grad_weight).all() and (grad_hidden[1:] == 0).all() and (grad_hidden[0] != 0).any()


def test_a_broken_promise_is_an_error_and_not_a_wrong_gradient():
    hidden, weight = torch.randn(3, 2, requires_grad=True), torch.randn(5, 2, requires_grad=True)
    labels, scale = torch.tensor([0, 1, 2]), torch.tensor([1.0, 0.0, 2.0])
    for upstream in ([1.0, 1.0, 2.0], [1.0, 0.0, 2.1], [float("nan"), 0.0, 2.0]):
        with pytest.raises(ValueError, match="no multiple"):
            linear_nll(hidden, weight, labels, scale_N=scale).backward(torch.tensor(upstream))
    nll = linear_nll(hidden, weight, labels, scale_N=scale)
    nll.backward(scale, retain_graph=True)
    with pytest.raises(ValueError, match="earlier backward"):
        nll.backward(scale)
    with torch.no_grad():
        assert not linear_nll(hidden, weight, labels, scale_N=scale).requires_grad


@pytest.mark.parametrize(
    "bad",
    [
        {"labels_N": torch.zeros(3, dtype=torch.long)},
        {"chunk_size": 0},
        {"weight_VD": torch.zeros(5, 2)},
        {"scale_N": torch.zeros(3)},
        {"scale_N": torch.zeros(4), "guess": Guess(torch.ones(4))},
        {"mixture": (torch.zeros(3, 2, dtype=torch.long), torch.zeros(3, 2))},
        {"mixture": (torch.zeros(4, 2, dtype=torch.long), torch.zeros(4, 1))},
    ],
)
def test_linear_nll_refuses_what_does_not_fit(bad):
    good = {"hidden_ND": torch.zeros(4, 3), "weight_VD": torch.zeros(5, 3), "labels_N": torch.zeros(4, dtype=torch.long)}
    with pytest.raises(ValueError):
        linear_nll(**good | bad)


class RowsMultiplied(TorchDispatchMode):
    """Counts rows x matrices of V x D numbers that they were multiplied with, whichever operator does it."""

    def __init__(self, vocab, width):
        super().__init__()
        self.size, self.rows, self.names = vocab * width, 0.0, set()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function.overloadpacket.__name__
        if name in ("mm", "addmm", "addmm_"):
            a, b = [x for x in arguments if isinstance(x, torch.Tensor)][-2:]
            self.rows += a.shape[0] * a.shape[1] * b.shape[1] / self.size
        self.names.add(name)
        return function(*arguments, **(keywords or {}))


LEARNT, SILENT, IGNORED = 7, 5, 4
SCALES = torch.tensor([2.0] * LEARNT + [0.0] * SILENT + [9.0] * IGNORED)
"""Of the rows: some have a scale, some have none, and an ignored label's is never looked at."""


@pytest.mark.parametrize(
    ("known", "guessed", "forward", "backward"),
    [
        (None, None, LEARNT + SILENT, 3 * LEARNT),
        (SCALES, None, 3 * LEARNT + SILENT, 0),
        (None, SCALES, 3 * LEARNT + SILENT, 0),
        (None, 5 * SCALES, 3 * LEARNT + SILENT, 0),
        (None, torch.zeros(16), LEARNT + SILENT, 3 * LEARNT),
        (None, torch.ones(16), 3 * (LEARNT + SILENT), 3 * SILENT),
    ],
    ids=["unknown", "known", "guessed", "guessed up to a factor", "not guessed", "guessed where there is none"],
)
def test_each_regime_costs_the_matmuls_that_it_says(known, guessed, forward, backward):
    """Four for a row with a scale (one without), three, and three for a right guess or six for a wrong one."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(LEARNT + SILENT + IGNORED, 3, generator=generator, requires_grad=True)
    weight = torch.randn(11, 3, generator=generator, requires_grad=True)
    labels = torch.arange(len(hidden)) % 11
    labels[-IGNORED:] = IGNORE_INDEX
    guess = None if guessed is None else Guess(guessed)
    counter = RowsMultiplied(11, 3)
    with counter:
        nll = linear_nll(hidden, weight, labels, scale_N=known, guess=guess, chunk_size=5)
        there = counter.rows
        nll.backward(SCALES)
    assert (there, counter.rows - there) == pytest.approx((forward, backward))
    assert not counter.names & {"matmul", "bmm", "linear", "einsum", "baddbmm"}, "a product that is not counted"


@pytest.fixture
def waiting(monkeypatch):
    """As if the host had to wait for a device."""
    monkeypatch.setattr(sys.modules["wmtp.objectives.linear_nll"], "_has_to_wait", lambda tensor: True)


@pytest.fixture
def multiplying_wide(monkeypatch):
    """As if the device multiplied bfloat16 matrices into float32; the products that were made so."""
    made = []

    def mm(a, b, out_dtype):
        made.append((a.dtype, b.dtype, out_dtype))
        return (a.double() @ b.double()).to(out_dtype)

    monkeypatch.setattr(sys.modules["wmtp.objectives.linear_nll"], "_multiplies_wide", lambda tensor: True)
    library = torch.library.Library("aten", "IMPL")
    library.impl("mm.dtype", mm, "CPU")
    yield made
    library._destroy()


@pytest.mark.parametrize("kind", ["unknown", "known", "guessed", "frozen"])
def test_products_of_narrow_matrices_are_made_wide_where_the_device_can(multiplying_wide, kind):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(33, 16, generator=generator).bfloat16().requires_grad_()
    weight = torch.randn(50, 16, generator=generator).bfloat16().requires_grad_(kind != "frozen")
    labels, upstream = random_labels(generator, 1, 33, 50)[0], (torch.arange(33) % 3 != 0).float()
    told = {"known": {"scale_N": upstream}, "guessed": {"guess": Guess(upstream, 0.7)}}.get(kind, {})
    leaves = [leaf for leaf in (hidden, weight) if leaf.requires_grad]
    oracle = linear_nll_reference(hidden, weight, labels)
    exact = torch.autograd.grad(oracle, leaves, upstream.double())
    for chunk_size in (5, 64):
        nll = linear_nll(hidden, weight, labels, chunk_size=chunk_size, **told)
        torch.testing.assert_close(nll.double(), oracle, rtol=1e-5, atol=1e-5)
        for a, b in zip(torch.autograd.grad(nll, leaves, upstream), exact, strict=True):
            torch.testing.assert_close(a.double(), b.double(), rtol=0.02, atol=0.03)
    assert set(multiplying_wide) == {(torch.bfloat16, torch.bfloat16, torch.float32)}
    assert len(multiplying_wide) > 9


@pytest.mark.parametrize(("kind", "expected"), [("unknown", 3), ("known", 4), ("guessed", 3)])
def test_the_host_waits_no_oftener_for_more_chunks(waiting, kind, expected):
    hidden, weight = torch.randn(40, 3, requires_grad=True), torch.randn(11, 3, requires_grad=True)
    labels, upstream = torch.arange(40) % 11, (torch.arange(40) % 3 != 0).float()
    labels[:4] = IGNORE_INDEX
    for chunk_size in (1, 7, 64):
        told = {"known": {"scale_N": upstream}, "guessed": {"guess": Guess(upstream, 0.7)}}.get(kind, {})
        with waits() as found:
            linear_nll(hidden, weight, labels, chunk_size=chunk_size, **told).backward(upstream)
        assert found.total() == expected, found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 999), chunk=st.integers(1, 25), most=st.sampled_from([0.01, 0.3, 0.6, 1.0]))
def test_whoever_has_to_wait_makes_gradients_of_a_share_of_the_rows_and_mends_the_rest(waiting, seed, chunk, most):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(20, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = random_labels(generator, 1, 20, 7)[0]
    upstream = torch.rand(20, generator=generator, dtype=torch.float64)
    upstream = upstream.masked_fill(upstream < 0.4, 0.0)
    oracle = linear_nll_reference(hidden, weight, labels)
    exact = torch.autograd.grad(oracle, [hidden, weight], upstream)
    for guessed in (upstream, -7 * upstream, upstream * (torch.arange(20) % 2), torch.ones_like(upstream)):
        nll = linear_nll(hidden, weight, labels, chunk_size=chunk, guess=Guess(guessed, most))
        torch.testing.assert_close(nll, oracle, rtol=1e-12, atol=1e-12)
        for a, b in zip(torch.autograd.grad(nll, [hidden, weight], upstream), exact, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_whoever_has_to_wait_multiplies_that_share_whatever_was_guessed(waiting):
    hidden, weight = torch.randn(20, 3, requires_grad=True), torch.randn(11, 3, requires_grad=True)
    scale = (torch.arange(20) < 10).float()
    counter = RowsMultiplied(11, 3)
    with counter:
        nll = linear_nll(hidden, weight, torch.arange(20) % 11, guess=Guess(scale, 0.6), chunk_size=10)
        there = counter.rows
        nll.backward(scale)
    assert (there, counter.rows - there) == pytest.approx((20 + 2 * 12, 0))


@pytest.mark.parametrize("told", [{}, {"scale_N": torch.ones(5)}, {"guess": True}], ids=["unknown", "known", "guessed"])
def test_a_frozen_matrix_has_no_gradient_and_none_is_made(told):
    hidden, weight, labels = torch.randn(5, 3, requires_grad=True), torch.randn(11, 3), torch.arange(5)
    told = {"guess": Guess(torch.ones(5))} if "guess" in told else told
    free = weight.clone().requires_grad_()
    expected, _ = torch.autograd.grad(linear_nll(hidden, free, labels, **told).sum(), [hidden, free])
    counter = RowsMultiplied(11, 3)
    with counter:
        linear_nll(hidden, weight, labels, **told).sum().backward()
    assert torch.equal(hidden.grad, expected) and counter.rows == pytest.approx(2 * 5 if told else 3 * 5)


def test_validation_costs_one_matmul_for_a_valid_row():
    counter = RowsMultiplied(11, 3)
    labels = torch.tensor([1, IGNORE_INDEX, 2, 3])
    with counter, torch.no_grad():
        linear_nll(torch.randn(4, 3), torch.randn(11, 3), labels, scale_N=torch.ones(4))
    assert counter.rows == pytest.approx(3)
