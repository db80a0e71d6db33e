"""Per-token NLL of a linear layer's softmax whose logits are softly capped, a chunk of rows at a time.

Shapes: N rows, D width, V vocabulary, R rows of one chunk.
"""

from __future__ import annotations

import torch
from torch.utils.checkpoint import checkpoint

from wmtp.objectives.linear_nll import CHUNK_BYTES, CHUNK_ROWS
from wmtp.types import IGNORE_INDEX


def soft_cap(logits: torch.Tensor, cap: float) -> torch.Tensor:
    """`cap * tanh(logits / cap)`. Source: Gemma 2, arXiv 2408.00118, section 2."""
    return torch.tanh(logits / cap) * cap


def capped_nll(hidden_ND: torch.Tensor, weight_VD: torch.Tensor, labels_N: torch.Tensor, cap: float) -> torch.Tensor:
    """`-log softmax(soft_cap(hidden @ weight.T))[label]` of every row with a label.

    Autograd's own gradient: a chunk's logits are made again in the backward pass, and never exist for all rows at once.

    Args:
        hidden_ND: rows; weight_VD: unembedding, same dtype; labels_N: int64 targets, IGNORE_INDEX rows get 0.
    Returns:
        nll_N in nats, float32 (float64 for float64 inputs).
    """
    wide = torch.promote_types(hidden_ND.dtype, torch.float32)
    valid_N = labels_N != IGNORE_INDEX
    rows = max(CHUNK_ROWS, CHUNK_BYTES["cuda" if hidden_ND.is_cuda else "cpu"] // (4 * weight_VD.shape[0]))
    kept_ND, kept_N = hidden_ND[valid_N], labels_N[valid_N]
    parts = [
        checkpoint(_chunk, hidden_RD, weight_VD, labels_R, cap, wide, use_reentrant=False)
        for hidden_RD, labels_R in zip(kept_ND.split(rows), kept_N.split(rows), strict=True)
    ]
    return kept_ND.new_zeros(len(labels_N), dtype=wide).masked_scatter(valid_N, torch.cat(parts))


def _chunk(
    hidden_RD: torch.Tensor, weight_VD: torch.Tensor, labels_R: torch.Tensor, cap: float, wide: torch.dtype
) -> torch.Tensor:
    logits_RV = soft_cap(hidden_RD.to(wide) @ weight_VD.to(wide).T, cap)
    return torch.nn.functional.cross_entropy(logits_RV, labels_R, reduction="none")
