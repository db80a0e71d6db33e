"""Per-token NLL of a linear layer's softmax without ever holding its N x V logits.

Shapes: N rows, D width, V vocabulary, R rows of one chunk.
"""

from __future__ import annotations

from typing import Any

import torch

from wmtp.types import IGNORE_INDEX

CHUNK_BYTES = 32 * 2**20
"""Size of the logits buffer. Smaller chunks lose matmul speed (32 rows cost 6x), larger ones only memory."""


def linear_nll(
    hidden_ND: torch.Tensor, weight_VD: torch.Tensor, labels_N: torch.Tensor, *, chunk_size: int | None = None
) -> torch.Tensor:
    """`-log softmax(hidden @ weight.T)[label]` of every row.

    The forward pass keeps the log-sum-exp only; the backward pass recomputes logits chunk by chunk, accumulates the
    weight gradient in float32, and does no work for rows whose label is ignored or whose upstream gradient is zero.

    Args:
        hidden_ND: rows, float64, float32, bfloat16 or float16.
        weight_VD: unembedding, same dtype.
        labels_N: int64 targets; IGNORE_INDEX rows get 0.
        chunk_size: rows per logits chunk; by default a 32 MiB buffer's worth.
    Returns:
        nll_N in nats, float32 (float64 for float64 inputs).
    Raises:
        ValueError: shapes that do not fit together, or chunk_size < 1.
    Source: cut cross-entropy, arXiv 2411.09009, in plain PyTorch.
    """
    if hidden_ND.ndim != 2 or weight_VD.ndim != 2 or hidden_ND.shape[1] != weight_VD.shape[1]:
        raise ValueError(f"hidden {tuple(hidden_ND.shape)} and weight {tuple(weight_VD.shape)} must be (N, D) and (V, D)")
    if labels_N.shape != hidden_ND.shape[:1]:
        raise ValueError(f"labels of shape {tuple(labels_N.shape)} do not match {hidden_ND.shape[0]} rows")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size} must be at least 1")
    rows = chunk_size or max(1, CHUNK_BYTES // (4 * weight_VD.shape[0]))
    nll: torch.Tensor = _LinearNLL.apply(hidden_ND, weight_VD, labels_N, rows)
    return nll


def linear_nll_reference(hidden_ND: torch.Tensor, weight_VD: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """The oracle: materialised float64 logits, plain autograd. Same arguments and result as `linear_nll`, in float64."""
    logits_NV = hidden_ND.double() @ weight_VD.double().T
    return torch.nn.functional.cross_entropy(logits_NV, labels_N, ignore_index=IGNORE_INDEX, reduction="none")


def _logits(hidden_RD: torch.Tensor, weight_VD: torch.Tensor, buffer: torch.Tensor) -> torch.Tensor:
    """One chunk's logits in the accumulation dtype, written into `buffer` where the dtypes allow."""
    if hidden_RD.dtype == buffer.dtype:
        return torch.mm(hidden_RD, weight_VD.T, out=buffer[: hidden_RD.shape[0]])
    if hidden_RD.is_cuda:
        return torch.mm(hidden_RD, weight_VD.T, out_dtype=buffer.dtype)
    return torch.mm(hidden_RD.to(buffer.dtype), weight_VD.T.to(buffer.dtype), out=buffer[: hidden_RD.shape[0]])


class _LinearNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, labels_N: torch.Tensor, rows: int) -> torch.Tensor:
        wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        index = (labels_N != IGNORE_INDEX).nonzero().squeeze(1)
        lse_N = hidden_ND.new_zeros(hidden_ND.shape[0], dtype=wide)
        nll_N = torch.zeros_like(lse_N)
        buffer = hidden_ND.new_empty((min(rows, max(1, index.numel())), weight_VD.shape[0]), dtype=wide)
        for part in index.split(rows):
            logits_RV = _logits(hidden_ND[part], weight_VD, buffer)
            lse_R = torch.logsumexp(logits_RV, dim=1)
            lse_N[part] = lse_R
            nll_N[part] = lse_R - logits_RV.gather(1, labels_N[part].unsqueeze(1)).squeeze(1)
        ctx.save_for_backward(hidden_ND, weight_VD, labels_N, lse_N)
        ctx.rows = rows
        return nll_N

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        hidden_ND, weight_VD, labels_N, lse_N = ctx.saved_tensors
        grad_N = grads[0]
        wide = lse_N.dtype
        index = ((labels_N != IGNORE_INDEX) & (grad_N != 0)).nonzero().squeeze(1)
        grad_hidden_ND = torch.zeros_like(hidden_ND)
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=wide)
        buffer = hidden_ND.new_empty((min(ctx.rows, max(1, index.numel())), weight_VD.shape[0]), dtype=wide)
        for part in index.split(ctx.rows):
            hidden_RD, scale_R1 = hidden_ND[part], grad_N[part].unsqueeze(1).to(wide)
            probs_RV = _logits(hidden_RD, weight_VD, buffer).sub_(lse_N[part].unsqueeze(1)).exp_()
            label_R1 = labels_N[part].unsqueeze(1)
            probs_RV.scatter_add_(1, label_R1, probs_RV.new_full((1, 1), -1.0).expand_as(label_R1))
            narrow_RV = probs_RV.to(hidden_ND.dtype)
            grad_hidden_ND[part] = (torch.mm(narrow_RV, weight_VD).to(wide) * scale_R1).to(hidden_ND.dtype)
            scaled_RD = (hidden_RD.to(wide) * scale_R1).to(hidden_ND.dtype)
            if wide == hidden_ND.dtype:
                grad_weight_VD.addmm_(narrow_RV.T, scaled_RD)
            else:
                grad_weight_VD += torch.mm(narrow_RV.T, scaled_RD)
        return grad_hidden_ND, grad_weight_VD.to(weight_VD.dtype), None, None
