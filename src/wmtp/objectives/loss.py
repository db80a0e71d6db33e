"""One loss for every arm: sum of weight x NLL over a global normaliser.

Shapes: B batch, T sequence, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wmtp.types import IGNORE_INDEX

REDUCTIONS = ("head_mean", "position_mean")
NORMALISATIONS = ("mean_one", "none")


@dataclass(frozen=True)
class LossOutput:
    """`loss`: this batch's share of the global loss (shares add up over ranks and micro-batches).

    `nll_sum_H`, `count_H`: unweighted NLL and number of valid targets per head of this batch, for reporting only.
    """

    loss: torch.Tensor
    nll_sum_H: torch.Tensor
    count_H: torch.Tensor


def _check(reduction: str, normalise: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction={reduction!r} must be one of {REDUCTIONS}")
    if normalise not in NORMALISATIONS:
        raise ValueError(f"normalise={normalise!r} must be one of {NORMALISATIONS}")


def local_normaliser(
    labels_BTH: torch.Tensor,
    weights_BTH: torch.Tensor | None = None,
    *,
    reduction: str = "head_mean",
    normalise: str = "mean_one",
) -> torch.Tensor:
    """What this batch adds to the global normaliser; sum it over ranks and micro-batches, then pass it to `mtp_loss`.

    Returns:
        float64 (H,) for `head_mean`, (1,) for `position_mean`: valid targets (positions), or the sum of their weights
        under `mean_one`, which makes the weights' mean over valid targets one.
    Raises:
        ValueError: unknown reduction or normalisation.
    """
    _check(reduction, normalise)
    valid_BTH = labels_BTH != IGNORE_INDEX
    amount_BTH = valid_BTH.double() if weights_BTH is None or normalise == "none" else weights_BTH.double() * valid_BTH
    if reduction == "head_mean":
        return amount_BTH.sum(dim=(0, 1))
    heads_BT = valid_BTH.sum(dim=-1).clamp(min=1)
    return (amount_BTH.sum(dim=-1) / heads_BT).sum().reshape(1)


def target_scale(
    labels_BTH: torch.Tensor,
    weights_BTH: torch.Tensor | None = None,
    *,
    reduction: str = "head_mean",
    normalise: str = "mean_one",
    normaliser: torch.Tensor | None = None,
) -> torch.Tensor:
    """The factor of every target's NLL in the loss, and so the loss's gradient with respect to it.

    `head_mean`: per head sum(w nll) / N_h, then the mean over heads with a valid target anywhere in the global batch.
    `position_mean`: per position the mean of w nll over its valid heads, then sum / N over positions.

    Args: as `mtp_loss`.
    Returns:
        scale_BTH, float64, zero on ignored labels, no gradient.
    Raises:
        ValueError: weights' shape, reduction or normalisation that are not allowed.
    Source: Gloeckle et al. 2024 (the sum over heads); Rho-1, arXiv 2404.07965, equation 5 (division by what is selected).
    """
    _check(reduction, normalise)
    if weights_BTH is not None and weights_BTH.shape != labels_BTH.shape:
        raise ValueError(f"weights {tuple(weights_BTH.shape)} do not match labels {tuple(labels_BTH.shape)}")
    if normaliser is None:
        normaliser = local_normaliser(labels_BTH, weights_BTH, reduction=reduction, normalise=normalise)
    valid_BTH = labels_BTH != IGNORE_INDEX
    amount_BTH = valid_BTH.double() if weights_BTH is None else torch.where(valid_BTH, weights_BTH.detach().double(), 0.0)
    active = normaliser > 0
    scale = torch.where(active, 1.0 / normaliser.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    if reduction == "head_mean":
        return amount_BTH * (scale / active.sum().clamp(min=1))
    return amount_BTH * scale / valid_BTH.sum(dim=-1, keepdim=True).clamp(min=1)


def mtp_loss(
    nll_BTH: torch.Tensor,
    labels_BTH: torch.Tensor,
    weights_BTH: torch.Tensor | None = None,
    *,
    reduction: str = "head_mean",
    normalise: str = "mean_one",
    normaliser: torch.Tensor | None = None,
) -> LossOutput:
    """Weighted multi-token prediction loss: the sum of `target_scale` x NLL.

    Args:
        nll_BTH: nats, float32 or wider; carries the gradient.
        labels_BTH: targets, IGNORE_INDEX where there is none.
        weights_BTH: >= 0, finite, no gradient; ones when None.
        normaliser: the global one (see `local_normaliser`); this batch's own when None.
    Returns:
        LossOutput; `loss` has nll's dtype.
    Raises:
        ValueError: shapes, reduction or normalisation that are not allowed.
    """
    scale_BTH = target_scale(labels_BTH, weights_BTH, reduction=reduction, normalise=normalise, normaliser=normaliser)
    return scaled_loss(nll_BTH, labels_BTH, scale_BTH)


def scaled_loss(nll_BTH: torch.Tensor, labels_BTH: torch.Tensor, scale_BTH: torch.Tensor) -> LossOutput:
    """`mtp_loss` for whoever has its `target_scale` already.

    Raises:
        ValueError: shapes that do not fit together.
    """
    if nll_BTH.shape != labels_BTH.shape:
        raise ValueError(f"nll {tuple(nll_BTH.shape)} and labels {tuple(labels_BTH.shape)} must have one shape (B, T, H)")
    valid_BTH = labels_BTH != IGNORE_INDEX
    loss = (nll_BTH * scale_BTH.to(nll_BTH.dtype)).sum()
    return LossOutput(loss, (nll_BTH.detach() * valid_BTH).sum(dim=(0, 1)), valid_BTH.sum(dim=(0, 1)))
