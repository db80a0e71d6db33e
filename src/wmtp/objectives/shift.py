"""Labels and weights of multi-token prediction: head h at position t predicts token t+1+h, with a stride t+1+h*stride.

Shapes: B batch, T sequence, H heads.
"""

from __future__ import annotations

import torch

from wmtp.types import IGNORE_INDEX


def _shifted(x_BT: torch.Tensor, n_future: int, fill: float, stride: int) -> torch.Tensor:
    """`out[b, t, h] = x[b, t+1+h*stride]`, `fill` past the end. (B, T) -> (B, T, H)."""
    batch, length = x_BT.shape
    padded = torch.cat([x_BT, x_BT.new_full((batch, 1 + (n_future - 1) * stride), fill)], dim=1)
    return padded.unfold(1, length, 1)[:, 1::stride, :].transpose(1, 2).contiguous()


def shift_labels(
    labels_BT: torch.Tensor, n_future: int, segment_ids_BT: torch.Tensor | None = None, *, stride: int = 1
) -> torch.Tensor:
    """The target of every head at every position.

    Args:
        labels_BT: token ids, IGNORE_INDEX where a token is no target (prompt, padding).
        n_future: number of heads H.
        segment_ids_BT: which packed document each token belongs to; a head never predicts across a boundary.
        stride: tokens from one head's target to the next one's.
    Returns:
        labels_BTH with `labels_BTH[b, t, h] = labels_BT[b, t+1+h*stride]`, IGNORE_INDEX past the end and across documents.
    Raises:
        ValueError: n_future or stride < 1.
    Source: Gloeckle et al. 2024, arXiv 2404.19737, section 2; with a stride L-MTP, arXiv 2505.17505.
    """
    if n_future < 1 or stride < 1:
        raise ValueError(f"n_future={n_future} and stride={stride} must be at least 1")
    labels_BTH = _shifted(labels_BT, n_future, IGNORE_INDEX, stride)
    if segment_ids_BT is not None:
        other = _shifted(segment_ids_BT, n_future, -1, stride) != segment_ids_BT.unsqueeze(-1)
        labels_BTH = labels_BTH.masked_fill(other, IGNORE_INDEX)
    return labels_BTH


def expand_weights(weights: torch.Tensor, labels_BTH: torch.Tensor, alignment: str, *, stride: int = 1) -> torch.Tensor:
    """The one place where position weights become target weights.

    Args:
        weights: (B, T) one weight a token, or (B, T, H) already per target; >= 0.
        labels_BTH: targets; weights are zeroed where they are IGNORE_INDEX.
        alignment: `target`, the weight belongs to the token being predicted; `source`, to the predicting position.
        stride: as the labels have it.
    Returns:
        weights_BTH, float32 or wider, detached.
    Raises:
        ValueError: another alignment, or shapes that do not match the labels.
    """
    if alignment not in ("target", "source"):
        raise ValueError(f"alignment={alignment!r} must be 'target' or 'source'")
    n_future = labels_BTH.shape[-1]
    if weights.shape not in (labels_BTH.shape, labels_BTH.shape[:2]):
        raise ValueError(f"weights of shape {tuple(weights.shape)} do not match labels of shape {tuple(labels_BTH.shape)}")
    weights = weights.detach().to(torch.promote_types(weights.dtype, torch.float32))
    if weights.ndim == 2:
        is_target = alignment == "target"
        weights = _shifted(weights, n_future, 0.0, stride) if is_target else weights.unsqueeze(-1).expand_as(labels_BTH)
    return weights.masked_fill(labels_BTH == IGNORE_INDEX, 0.0)


def heads_first(x_BTH: torch.Tensor) -> torch.Tensor:
    """One row for every target, head by head: (B, T, H) -> (H * B * T,). The order of the unembedding's rows."""
    return x_BTH.movedim(-1, 0).flatten()
