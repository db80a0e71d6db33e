"""Per-token NLL of a linear layer's softmax without ever holding its N x V logits.

Shapes: N rows, D width, V vocabulary, R rows of one chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from wmtp.types import IGNORE_INDEX

CHUNK_BYTES = 32 * 2**20
"""Size of the logits buffer. Smaller chunks lose matmul speed (32 rows cost 6x), larger ones only memory."""

PROMISE_RTOL = 1e-5
"""How far an upstream gradient may be from a multiple of the promised one, row by row: float32 rounding, no more."""


def linear_nll(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    labels_N: torch.Tensor,
    *,
    chunk_size: int | None = None,
    scale_N: torch.Tensor | None = None,
) -> torch.Tensor:
    """`-log softmax(hidden @ weight.T)[label]` of every row.

    Logits exist one chunk at a time. Without `scale_N` the backward pass makes them again: four matmuls for a row with
    an upstream gradient, one for a row without (an ignored label costs none). With `scale_N`, the upstream gradient
    that will come, the forward pass produces the gradients on the way: three matmuls instead of four, and nothing but
    the gradients is kept for the backward pass. The weight gradient accumulates in float32 in either case.

    Args:
        hidden_ND: rows, float64, float32, bfloat16 or float16.
        weight_VD: unembedding, same dtype.
        labels_N: int64 targets; IGNORE_INDEX rows get 0.
        chunk_size: rows per logits chunk; by default a 32 MiB buffer's worth.
        scale_N: the gradient of the loss with respect to the result, known ahead up to one factor for all rows. The
            backward pass checks it; it then works once (no `retain_graph`). Ignored where no gradient is recorded.
    Returns:
        nll_N in nats, float32 (float64 for float64 inputs).
    Raises:
        ValueError: shapes that do not fit together, or chunk_size < 1; in the backward pass, an upstream gradient that
            is no multiple of `scale_N`, or a second backward pass with `scale_N`.
    Source: cut cross-entropy, arXiv 2411.09009, and Liger's fused linear cross-entropy, arXiv 2410.10989, in plain PyTorch.
    """
    if hidden_ND.ndim != 2 or weight_VD.ndim != 2 or hidden_ND.shape[1] != weight_VD.shape[1]:
        raise ValueError(f"hidden {tuple(hidden_ND.shape)} and weight {tuple(weight_VD.shape)} must be (N, D) and (V, D)")
    if labels_N.shape != hidden_ND.shape[:1]:
        raise ValueError(f"labels of shape {tuple(labels_N.shape)} do not match {hidden_ND.shape[0]} rows")
    if scale_N is not None and scale_N.shape != labels_N.shape:
        raise ValueError(f"scale of shape {tuple(scale_N.shape)} does not match {hidden_ND.shape[0]} rows")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size} must be at least 1")
    rows = chunk_size or max(1, CHUNK_BYTES // (4 * weight_VD.shape[0]))
    if scale_N is None or not torch.is_grad_enabled():
        nll: torch.Tensor = _GradientInBackward.apply(hidden_ND, weight_VD, labels_N, rows)
    else:
        nll = _GradientInForward.apply(hidden_ND, weight_VD, labels_N, scale_N.detach(), rows)
    return nll


def linear_nll_reference(hidden_ND: torch.Tensor, weight_VD: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """The oracle: materialised float64 logits, plain autograd. Same arguments and result as `linear_nll`, in float64."""
    logits_NV = hidden_ND.double() @ weight_VD.double().T
    return torch.nn.functional.cross_entropy(logits_NV, labels_N, ignore_index=IGNORE_INDEX, reduction="none")


class _Chunks:
    """The work on one chunk of rows at a time: a reused logits buffer and the two gradients as they accumulate."""

    def __init__(self, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, labels_N: torch.Tensor, rows: int, most: int) -> None:
        self.hidden_ND, self.weight_VD, self.labels_N = hidden_ND, weight_VD, labels_N
        self.wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        self.rows = max(1, min(rows, most))
        self.buffer = hidden_ND.new_empty((self.rows, weight_VD.shape[0]), dtype=self.wide)
        self.grad_hidden_ND: torch.Tensor | None = None
        self.grad_weight_VD: torch.Tensor | None = None

    def start_gradients(self, hidden: bool, weight: bool) -> None:
        self.grad_hidden_ND = torch.zeros_like(self.hidden_ND) if hidden else None
        self.grad_weight_VD = torch.zeros_like(self.weight_VD, dtype=self.wide) if weight else None

    def logits(self, part: torch.Tensor) -> torch.Tensor:
        """(R, V) in the accumulation dtype, written into the buffer where the dtypes allow."""
        hidden_RD, weight_VD = self.hidden_ND[part], self.weight_VD
        if hidden_RD.dtype == self.wide:
            return torch.mm(hidden_RD, weight_VD.T, out=self.buffer[: hidden_RD.shape[0]])
        if hidden_RD.is_cuda:
            return torch.mm(hidden_RD, weight_VD.T, out_dtype=self.wide)
        return torch.mm(hidden_RD.to(self.wide), weight_VD.T.to(self.wide), out=self.buffer[: hidden_RD.shape[0]])

    def nll(self, part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(R,) NLL and log-sum-exp of a chunk."""
        nll_R, largest_R, total_R = self.exponentials(part)[1:]
        return nll_R, largest_R + total_R.log()

    def exponentials(self, part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """A chunk's exp(logits - largest) (R, V), its NLL, the largest logits and the sums of the exponentials (all R).

        The softmax is never divided out: that is a factor for each row, which the gradients take on their D side.
        """
        logits_RV = self.logits(part)
        label_R = logits_RV.gather(1, self.labels_N[part].unsqueeze(1)).squeeze(1)
        largest_R = logits_RV.amax(dim=1)
        exp_RV = logits_RV.sub_(largest_R.unsqueeze(1)).exp_()
        total_R = exp_RV.sum(dim=1)
        return exp_RV, largest_R - label_R + total_R.log(), largest_R, total_R

    def probabilities(self, part: torch.Tensor, lse_R: torch.Tensor) -> torch.Tensor:
        return self.logits(part).sub_(lse_R.unsqueeze(1)).exp_()

    def add_gradients(self, part: torch.Tensor, exp_RV: torch.Tensor, total_R: torch.Tensor, scale_R: torch.Tensor) -> None:
        """`scale * (exp / total - one_hot(label))` into both gradients; overwrites the exponentials."""
        label_R1, scale_R1 = self.labels_N[part].unsqueeze(1), (scale_R.to(self.wide) / total_R).unsqueeze(1)
        exp_RV.scatter_add_(1, label_R1, -total_R.unsqueeze(1))
        narrow_RV = exp_RV.to(self.hidden_ND.dtype)
        if self.grad_hidden_ND is not None:
            rows_RD = torch.mm(narrow_RV, self.weight_VD)
            self.grad_hidden_ND[part] = (rows_RD.to(self.wide) * scale_R1).to(self.hidden_ND.dtype)
        if self.grad_weight_VD is not None:
            scaled_RD = (self.hidden_ND[part].to(self.wide) * scale_R1).to(self.hidden_ND.dtype)
            if self.wide == self.hidden_ND.dtype:
                self.grad_weight_VD.addmm_(narrow_RV.T, scaled_RD)
            else:
                self.grad_weight_VD += torch.mm(narrow_RV.T, scaled_RD)

    def gradients(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        weight_VD = self.grad_weight_VD
        return self.grad_hidden_ND, None if weight_VD is None else weight_VD.to(self.weight_VD.dtype)


def _where(mask_N: torch.Tensor) -> torch.Tensor:
    return mask_N.nonzero().squeeze(1)


class _GradientInBackward(torch.autograd.Function):
    """Keeps its inputs alone; skips rows whose upstream gradient is zero."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, labels_N: torch.Tensor, rows: int) -> torch.Tensor:
        index = _where(labels_N != IGNORE_INDEX)
        chunks = _Chunks(hidden_ND, weight_VD, labels_N, rows, index.numel())
        nll_N = hidden_ND.new_zeros(hidden_ND.shape[0], dtype=chunks.wide)
        lse_N = torch.zeros_like(nll_N)
        for part in index.split(chunks.rows):
            nll_N[part], lse_N[part] = chunks.nll(part)
        ctx.save_for_backward(hidden_ND, weight_VD, labels_N, lse_N)
        ctx.rows = rows
        return nll_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        hidden_ND, weight_VD, labels_N, lse_N = ctx.saved_tensors
        index = _where((labels_N != IGNORE_INDEX) & (grad_N != 0))
        chunks = _Chunks(hidden_ND, weight_VD, labels_N, ctx.rows, index.numel())
        chunks.start_gradients(*ctx.needs_input_grad[:2])
        for part in index.split(chunks.rows):
            chunks.add_gradients(part, chunks.probabilities(part, lse_N[part]), torch.ones_like(lse_N[part]), grad_N[part])
        return *chunks.gradients(), None, None


class _GradientInForward(torch.autograd.Function):
    """Keeps the finished gradients alone."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        labels_N: torch.Tensor,
        scale_N: torch.Tensor,
        rows: int,
    ) -> torch.Tensor:
        valid_N = labels_N != IGNORE_INDEX
        wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        scale_N = torch.where(valid_N, scale_N.to(wide), 0.0)
        learned, silent = _where(scale_N != 0), _where(valid_N & (scale_N == 0))
        chunks = _Chunks(hidden_ND, weight_VD, labels_N, rows, max(learned.numel(), silent.numel()))
        chunks.start_gradients(*ctx.needs_input_grad[:2])
        nll_N = hidden_ND.new_zeros(hidden_ND.shape[0], dtype=wide)
        for part in learned.split(chunks.rows):
            exp_RV, nll_N[part], _, total_R = chunks.exponentials(part)
            chunks.add_gradients(part, exp_RV, total_R, scale_N[part])
        for part in silent.split(chunks.rows):
            nll_N[part], _ = chunks.nll(part)
        ctx.save_for_backward(scale_N, valid_N)
        ctx.gradients = chunks.gradients()
        return nll_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None, None]:
        scale_N, valid_N = ctx.saved_tensors
        if ctx.gradients is None:
            raise ValueError("linear_nll with scale_N: its gradients were handed out by an earlier backward pass")
        factor = _common_factor(torch.where(valid_N, grad_N, 0.0), scale_N)
        gradients, ctx.gradients = ctx.gradients, None
        if factor != 1.0:
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(factor)
        return *gradients, None, None, None


def _common_factor(grad_N: torch.Tensor, scale_N: torch.Tensor) -> float:
    """The factor that takes the promised gradient to the one that came. NaN promised is NaN kept: gates are for that."""
    grad_N, scale_N = grad_N.double(), scale_N.double()
    size = scale_N.square().sum()
    factor = torch.where(size > 0, (grad_N * scale_N).sum() / size, 1.0)
    kept = ((grad_N - factor * scale_N).abs() <= PROMISE_RTOL * (factor * scale_N).abs()).all() | ~torch.isfinite(size)
    kept_, factor_ = torch.stack([kept.double(), factor]).tolist()
    if not kept_:
        raise ValueError("linear_nll: the loss's gradient is no multiple of the scale_N that was given to the forward pass")
    return float(factor_)
