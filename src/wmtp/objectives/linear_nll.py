"""Per-token NLL of a linear layer's softmax without ever holding its N x V logits.

The host waits for the device a fixed number of times a call, whatever the number of chunks: once for the rows that have a label
(where scales are known twice: with and without one), once for the labels whose probability underflows, and once in the backward
pass. On a CPU, where there is nobody to wait for, the rows of a chunk that are guessed are counted.

Shapes: N rows, D width, V vocabulary, R rows of one chunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch.autograd.function import once_differentiable

from wmtp.types import IGNORE_INDEX

CHUNK_BYTES = {"cpu": 32 * 2**20, "cuda": 256 * 2**20}
CHUNK_ROWS = 512
"""Size of the logits buffer: so many bytes, or so many rows where that is more. Smaller chunks lose matmul speed (on a CPU 32
rows cost 6x) and read and write the weight gradient more often; larger ones only memory."""

SCALE_RTOL = 1e-5
"""How far an upstream gradient may be from a multiple of the scale that was given or guessed, row by row: float32 rounding."""


class ScaleGuess(Protocol):
    """What can be told of rows' scales from their NLLs.

    Attributes:
        most: the share of rows, in (0, 1], that hardly more than so many are guessed of.
    """

    @property
    def most(self) -> float: ...

    def __call__(self, rows_R: torch.Tensor, nll_R: torch.Tensor, /) -> torch.Tensor:
        """The scale (R,) that each row will have up to one factor for all rows, 0 where that is too uncertain.

        Called for one chunk of rows after another; every chunk is spread evenly over all valid rows.
        """
        ...


Mixture = tuple[torch.Tensor, torch.Tensor]
"""(tokens_NK int64, shares_NK): targets that are distributions. A token's shares add up; a share of 0 is of no token."""


def linear_nll(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    labels_N: torch.Tensor,
    *,
    chunk_size: int | None = None,
    scale_N: torch.Tensor | None = None,
    guess: ScaleGuess | None = None,
    mixture: Mixture | None = None,
) -> torch.Tensor:
    """`-log softmax(hidden @ weight.T)[label]` of every row.

    A row's *scale* is the gradient of the loss with respect to its NLL: what the backward pass is handed. Logits exist one
    chunk at a time, and there are three regimes:

    - nothing is known of the scale: the backward pass makes the logits again. Four matmuls for a row with a scale, one for a
      row whose scale is zero (an ignored label costs none);
    - `scale_N` is known: the forward pass makes the gradients on the way. Three matmuls, and nothing but the gradients is kept;
    - it can be guessed from the NLLs so far (`guess`): the forward pass does so for the rows that are guessed, and the backward
      pass mends the rest. Three matmuls for a right guess, six for a wrong one.

    The weight gradient accumulates in float32 in every case; none is made for weights that need none.

    Args:
        hidden_ND: rows, float64, float32, bfloat16 or float16.
        weight_VD: unembedding, same dtype.
        labels_N: int64 targets; IGNORE_INDEX rows get 0.
        chunk_size: rows per logits chunk; by default as CHUNK_BYTES and CHUNK_ROWS say.
        scale_N: known up to one factor for all rows. The backward pass checks it; it then works once (no
            `retain_graph`). Ignored where no gradient is recorded.
        guess: see `ScaleGuess`. Has an effect on time only. Ignored where no gradient is recorded.
        mixture: targets that are distributions, `sum_k share_k x -log softmax(...)[token_k]`, with shares that sum to 1 where
            there is a label, which says no more than that.
    Returns:
        nll_N in nats, float32 (float64 for float64 inputs).
    Raises:
        ValueError: shapes that do not fit together, chunk_size < 1, or both scale_N and guess; in the backward pass with
            `scale_N`, an upstream gradient that is no multiple of it, or a second backward pass.
    Source: cut cross-entropy, arXiv 2411.09009, and Liger's fused linear cross-entropy, arXiv 2410.10989, in plain PyTorch.
    """
    if hidden_ND.ndim != 2 or weight_VD.ndim != 2 or hidden_ND.shape[1] != weight_VD.shape[1]:
        raise ValueError(f"hidden {tuple(hidden_ND.shape)} and weight {tuple(weight_VD.shape)} must be (N, D) and (V, D)")
    if labels_N.shape != hidden_ND.shape[:1]:
        raise ValueError(f"labels of shape {tuple(labels_N.shape)} do not match {hidden_ND.shape[0]} rows")
    if mixture is not None and not mixture[0].shape == mixture[1].shape == (len(labels_N), mixture[0].shape[-1]):
        raise ValueError(f"a mixture of shapes {[tuple(part.shape) for part in mixture]} does not match {len(labels_N)} rows")
    if scale_N is not None and scale_N.shape != labels_N.shape:
        raise ValueError(f"scale of shape {tuple(scale_N.shape)} does not match {hidden_ND.shape[0]} rows")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size} must be at least 1")
    if scale_N is not None and guess is not None:
        raise ValueError("give scale_N, which is certain, or guess, not both")
    buffer_bytes = CHUNK_BYTES["cuda" if hidden_ND.is_cuda else "cpu"]
    rows = chunk_size or max(CHUNK_ROWS, buffer_bytes // (4 * weight_VD.shape[0]))
    if scale_N is None or not torch.is_grad_enabled():
        guess = guess if torch.is_grad_enabled() else None
        nll: torch.Tensor = _GradientInBackward.apply(hidden_ND, weight_VD, labels_N, mixture, guess, rows)
    else:
        nll = _GradientInForward.apply(hidden_ND, weight_VD, labels_N, mixture, scale_N.detach(), rows)
    return nll


def linear_nll_reference(hidden_ND: torch.Tensor, weight_VD: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """The oracle: materialised float64 logits, plain autograd. Same arguments and result as `linear_nll`, in float64."""
    logits_NV = hidden_ND.double() @ weight_VD.double().T
    return torch.nn.functional.cross_entropy(logits_NV, labels_N, ignore_index=IGNORE_INDEX, reduction="none")


class _Chunks:
    """The work on one chunk of rows at a time: a reused logits buffer and the two gradients as they accumulate."""

    def __init__(
        self,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        labels_N: torch.Tensor,
        mixture: Mixture | None,
        rows: int,
        most: int,
    ) -> None:
        self.hidden_ND, self.weight_VD, self.labels_N, self.mixture = hidden_ND, weight_VD, labels_N, mixture
        self.wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        self.rows = max(1, min(rows, most))
        self.has_wide_products = _multiplies_wide(hidden_ND) and hidden_ND.dtype != self.wide
        buffer_rows = 0 if self.has_wide_products else self.rows
        self.buffer = hidden_ND.new_empty((buffer_rows, weight_VD.shape[0]), dtype=self.wide)
        self.grad_hidden_ND: torch.Tensor | None = None
        self.grad_weight_VD: torch.Tensor | None = None

    def split(self, index: torch.Tensor) -> Iterator[torch.Tensor]:
        """Parts of at most `rows` rows, each spread over the whole of `index`."""
        num_parts = -(-index.numel() // self.rows)
        return (index[i::num_parts] for i in range(num_parts))

    def start_gradients(self, hidden: bool, weight: bool) -> None:
        self.grad_hidden_ND = torch.zeros_like(self.hidden_ND) if hidden else None
        self.grad_weight_VD = torch.zeros_like(self.weight_VD, dtype=self.wide) if weight else None

    def product(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Of two matrices, not rounded to their dtype."""
        return torch.mm(a, b, out_dtype=self.wide) if self.has_wide_products else torch.mm(a.to(self.wide), b.to(self.wide))

    def logits(self, part: torch.Tensor) -> torch.Tensor:
        """(R, V) in the accumulation dtype, written into the buffer where the dtypes allow."""
        hidden_RD = self.hidden_ND[part]
        if self.has_wide_products:
            return self.product(hidden_RD, self.weight_VD.T)
        return torch.mm(hidden_RD.to(self.wide), self.weight_VD.T.to(self.wide), out=self.buffer[: hidden_RD.shape[0]])

    def probabilities(self, part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A chunk's softmax (R, V), which overwrites the logits row by row while they are in cache, and NLL (R,)."""
        logits_RV = self.logits(part)
        if self.mixture is not None:
            tokens_RK, shares_RK = self._of_mixture(part)
            nll_R = torch.logsumexp(logits_RV, dim=1) - (logits_RV.gather(1, tokens_RK) * shares_RK).sum(dim=1)
            return torch.softmax(logits_RV, dim=1, out=logits_RV), nll_R
        probabilities_RV = torch.softmax(logits_RV, dim=1, out=logits_RV)
        return probabilities_RV, -probabilities_RV.gather(1, self.labels_N[part].unsqueeze(1)).squeeze(1).log()

    def _of_mixture(self, part: torch.Tensor) -> Mixture:
        assert self.mixture is not None
        tokens_NK, shares_NK = self.mixture
        return tokens_NK[part], shares_NK[part].to(self.wide)

    def mend_underflow(self, nll_N: torch.Tensor) -> None:
        """Where the label's probability is too small for the dtype, its NLL by the log-sum-exp (in place)."""
        if self.mixture is not None:
            return  # made from the logits as it is
        beyond = _where(nll_N > -0.8 * math.log(torch.finfo(self.wide).tiny))
        for part in self.split(beyond):
            logits_RV = self.logits(part)
            label_R = logits_RV.gather(1, self.labels_N[part].unsqueeze(1)).squeeze(1)
            nll_N[part] = torch.logsumexp(logits_RV, dim=1) - label_R

    def add_gradients(self, part: torch.Tensor, probabilities_RV: torch.Tensor, scale_R: torch.Tensor) -> None:
        """`scale * (probabilities - target)` into both gradients; overwrites the probabilities."""
        scale_R1 = scale_R.to(self.wide).unsqueeze(1)
        if self.mixture is None:
            label_R1 = self.labels_N[part].unsqueeze(1)
            probabilities_RV.scatter_add_(1, label_R1, probabilities_RV.new_full(label_R1.shape, -1.0))
        else:
            tokens_RK, shares_RK = self._of_mixture(part)
            probabilities_RV.scatter_add_(1, tokens_RK, -shares_RK)
        narrow_RV = probabilities_RV.to(self.hidden_ND.dtype)
        if self.grad_hidden_ND is not None:
            rows_RD = self.product(narrow_RV, self.weight_VD) * scale_R1
            self.grad_hidden_ND[part] += rows_RD.to(self.hidden_ND.dtype)
        if self.grad_weight_VD is not None:
            scaled_RD = (self.hidden_ND[part].to(self.wide) * scale_R1).to(self.hidden_ND.dtype)
            if self.wide == self.hidden_ND.dtype:
                self.grad_weight_VD.addmm_(narrow_RV.T, scaled_RD)
            else:
                self.grad_weight_VD += self.product(narrow_RV.T, scaled_RD)

    def gradients(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        weight_VD = self.grad_weight_VD
        return self.grad_hidden_ND, None if weight_VD is None else weight_VD.to(self.weight_VD.dtype)


def _where(mask_N: torch.Tensor) -> torch.Tensor:
    return mask_N.nonzero().squeeze(1)


def _has_to_wait(tensor: torch.Tensor) -> bool:
    """Whether the host waits for a device when it asks for a number that is there."""
    return tensor.device.type != "cpu"


def _multiplies_wide(tensor: torch.Tensor) -> bool:
    """Whether its device multiplies matrices of 16 bits into float32 ones, so that none is copied into float32 before."""
    return tensor.is_cuda


def _foremost(rows_RV: torch.Tensor, keep_R: torch.Tensor, most: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The kept rows and others, a share of `most` of all together, so that the host need not know how many are kept."""
    num_rows = math.ceil(most * len(keep_R))
    if num_rows == len(keep_R):
        return rows_RV, torch.arange(num_rows, device=keep_R.device)
    order = torch.argsort(~keep_R, stable=True)[:num_rows]
    return rows_RV[order], order


def _compacted(rows_RV: torch.Tensor, keep_R: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The kept rows at the front, moving as few as possible, in place; and where each came from."""
    count = int(keep_R.sum())
    order = torch.arange(count, device=keep_R.device)
    holes = _where(~keep_R[:count])
    order[holes] = count + _where(keep_R[count:])
    rows_RV[holes] = rows_RV[order[holes]]
    return rows_RV[:count], order


class _GradientInBackward(torch.autograd.Function):
    """Keeps its inputs, and the gradients of the rows that were guessed; skips rows whose scale is zero."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        labels_N: torch.Tensor,
        mixture: Mixture | None,
        guess: ScaleGuess | None,
        rows: int,
    ) -> torch.Tensor:
        index = _where(labels_N != IGNORE_INDEX)
        chunks = _Chunks(hidden_ND, weight_VD, labels_N, mixture, rows, index.numel())
        nll_N = hidden_ND.new_zeros(hidden_ND.shape[0], dtype=chunks.wide)
        guessed_N = torch.zeros_like(nll_N)
        if guess is not None:
            chunks.start_gradients(*ctx.needs_input_grad[:2])
        for part in chunks.split(index):
            probabilities_RV, nll_N[part] = chunks.probabilities(part)
            if guess is not None:
                guess_R = guess(part, nll_N[part]).to(chunks.wide)
                if _has_to_wait(hidden_ND):
                    kept_RV, order = _foremost(probabilities_RV, guess_R != 0, guess.most)
                else:
                    kept_RV, order = _compacted(probabilities_RV, guess_R != 0)
                guessed_N[part[order]] = guess_R[order]
                chunks.add_gradients(part[order], kept_RV, guess_R[order])
        chunks.mend_underflow(nll_N)
        ctx.save_for_backward(hidden_ND, weight_VD, labels_N, guessed_N)
        ctx.rows, ctx.mixture = rows, mixture
        ctx.made = None if guess is None else (chunks.grad_hidden_ND, chunks.grad_weight_VD)
        return nll_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None, None, None]:
        hidden_ND, weight_VD, labels_N, guessed_N = ctx.saved_tensors
        valid_N = labels_N != IGNORE_INDEX
        made, ctx.made = ctx.made, None
        missing_N = grad_N
        if made is not None:
            factor, missing_N = _compare(torch.where(valid_N, grad_N, 0.0), guessed_N)
        index = _where(valid_N & (missing_N != 0))
        chunks = _Chunks(hidden_ND, weight_VD, labels_N, ctx.mixture, ctx.rows, index.numel())
        if made is None:
            chunks.start_gradients(*ctx.needs_input_grad[:2])
        else:
            chunks.grad_hidden_ND, chunks.grad_weight_VD = (None if g is None else g.mul_(factor) for g in made)
        for part in chunks.split(index):
            chunks.add_gradients(part, chunks.probabilities(part)[0], missing_N[part])
        return *chunks.gradients(), None, None, None, None


class _GradientInForward(torch.autograd.Function):
    """Keeps the finished gradients alone."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        labels_N: torch.Tensor,
        mixture: Mixture | None,
        scale_N: torch.Tensor,
        rows: int,
    ) -> torch.Tensor:
        valid_N = labels_N != IGNORE_INDEX
        wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        scale_N = torch.where(valid_N, scale_N.to(wide), 0.0)
        learned, silent = _where(scale_N != 0), _where(valid_N & (scale_N == 0))
        chunks = _Chunks(hidden_ND, weight_VD, labels_N, mixture, rows, max(learned.numel(), silent.numel()))
        chunks.start_gradients(*ctx.needs_input_grad[:2])
        nll_N = hidden_ND.new_zeros(hidden_ND.shape[0], dtype=wide)
        for part in chunks.split(learned):
            probabilities_RV, nll_N[part] = chunks.probabilities(part)
            chunks.add_gradients(part, probabilities_RV, scale_N[part])
        for part in chunks.split(silent):
            nll_N[part] = chunks.probabilities(part)[1]
        chunks.mend_underflow(nll_N)
        ctx.save_for_backward(scale_N, valid_N)
        ctx.gradients = chunks.gradients()
        return nll_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None, None, None]:
        scale_N, valid_N = ctx.saved_tensors
        if ctx.gradients is None:
            raise ValueError("linear_nll with scale_N: its gradients were handed out by an earlier backward pass")
        factor, missing_N = _compare(torch.where(valid_N, grad_N, 0.0), scale_N)
        broken, factor_ = torch.stack([(missing_N != 0).any() & torch.isfinite(scale_N).all(), factor]).tolist()
        if broken:
            raise ValueError("linear_nll: the loss's gradient is no multiple of the scale_N that was given to the forward pass")
        gradients, ctx.gradients = ctx.gradients, None
        if factor_ != 1.0:
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(factor_)
        return *gradients, None, None, None, None


def _compare(grad_N: torch.Tensor, scale_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The factor (a float64 scalar) that takes a scale, given or guessed, to the gradient that came, and what that leaves.

    The factor is fitted to rows that have both. What it leaves is 0 where it is rounding, and NaN where either gradient is.
    """
    grad_N_, scale_N_ = grad_N.double(), scale_N.double()
    both_N = torch.where(grad_N_ != 0, scale_N_, 0.0)
    size = both_N.square().sum()
    factor = torch.where(size > 0, (grad_N_ * both_N).sum() / size, 1.0)
    missing_N = grad_N_ - factor * scale_N_
    return factor, torch.where(missing_N.abs() <= SCALE_RTOL * (factor * scale_N_).abs(), 0.0, missing_N).to(grad_N.dtype)
