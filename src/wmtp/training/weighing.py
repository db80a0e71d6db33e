"""A global batch with its weights: what the loss is made of, and what is reported of it.

Shapes: B batch, T sequence, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from wmtp.distributed import World
from wmtp.objectives.loss import local_normaliser, target_scale
from wmtp.training.meters import StepMetrics
from wmtp.types import IGNORE_INDEX
from wmtp.weightings.base import LossShape


@dataclass(frozen=True)
class Weighted:
    """This rank's share of a global batch.

    Args:
        weights_BTH: as the weighting gave them; None for ones.
        normaliser: of the global batch, see `local_normaliser`.
        counts_H: valid targets of each head of the global batch; num_positions: positions with any.
        head_weights: of each head's part of the loss; None for ones. Not part of the weights, which are reported without them.
        sums_3H: of the global batch, per head: amount, amount x log(amount), amount x weight, where a target's amount is
            its weight in the loss's sum: the weight itself or, under `position_mean`, its position's share of it.
    """

    labels_BTH: torch.Tensor
    weights_BTH: torch.Tensor | None
    loss: LossShape
    normaliser: torch.Tensor
    counts_H: torch.Tensor
    num_positions: torch.Tensor
    sums_3H: torch.Tensor
    head_weights: Sequence[float] | None = None

    def scale(self) -> torch.Tensor:
        """The factor of every target's NLL in the global loss, float64 (B, T, H)."""
        scale_BTH = target_scale(
            self.labels_BTH,
            self.weights_BTH,
            reduction=self.loss.reduction,
            normalise=self.loss.normalise,
            normaliser=self.normaliser,
        )
        return scale_BTH if self.head_weights is None else scale_BTH * scale_BTH.new_tensor(self.head_weights)

    def factors(self) -> torch.Tensor:
        """What the loss's normalisation multiplies the weights of each head with, float64 (H,)."""
        if self.loss.normalise == "none" or self.weights_BTH is None:
            return torch.ones_like(self.counts_H)
        total = self.num_positions if self.loss.reduction == "position_mean" else self.counts_H
        return (total / self.normaliser.clamp(min=torch.finfo(torch.float64).tiny)).expand_as(self.counts_H)

    def scaled(self) -> torch.Tensor:
        """Weights as the loss sees them, (B, T, H): mean one under `mean_one`, 0 where there is no target."""
        valid_BTH = (self.labels_BTH != IGNORE_INDEX).float()
        return valid_BTH if self.weights_BTH is None else self.weights_BTH * self.factors().float()

    def broken(self, whose: str = "weights") -> dict[str, torch.Tensor]:
        """What weights must never be -> whether these are, booleans on the device: of this rank's share, `all zero` of the
        global batch. Empty for ones. `whose`: what the weights are called."""
        if self.weights_BTH is None:
            return {}
        return {
            f"{whose} are NaN": torch.isnan(self.weights_BTH).any(),
            f"{whose} are infinite": torch.isinf(self.weights_BTH).any(),
            f"{whose} are negative": (self.weights_BTH < 0).any(),
            f"{whose} are all zero": (self.sums_3H[0].sum() == 0) & (self.counts_H.sum() > 0),
        }


def weigh(
    world: World,
    labels_BTH: torch.Tensor,
    weights_BTH: torch.Tensor | None,
    loss: LossShape,
    head_weights: Sequence[float] | None = None,
) -> Weighted:
    """Everything that must be known of the global batch, in one all-reduce."""
    valid_BTH = labels_BTH != IGNORE_INDEX
    weights = valid_BTH.double() if weights_BTH is None else weights_BTH.double()
    num_heads_BT1 = valid_BTH.sum(dim=-1, keepdim=True)
    amount = weights / num_heads_BT1.clamp(min=1) if loss.reduction == "position_mean" else weights
    sums_3H = torch.stack([amount, torch.xlogy(amount, amount), amount * weights]).sum(dim=(1, 2))
    local = local_normaliser(labels_BTH, weights_BTH, reduction=loss.reduction, normalise=loss.normalise)
    num_positions = (num_heads_BT1 > 0).sum().double().reshape(1)
    parts = [local, valid_BTH.sum(dim=(0, 1)).double(), num_positions, sums_3H.flatten()]
    joined = world.all_reduce(torch.cat(parts))
    normaliser, counts_H, num_positions, sums = joined.split([len(part) for part in parts])
    return Weighted(labels_BTH, weights_BTH, loss, normaliser, counts_H, num_positions, sums.view(3, -1), head_weights)


def weight_metrics(weighted: Weighted, whose: str = "weights") -> StepMetrics:
    """Statistics of the weights as the loss sees them; each is the global batch's own, and steps are averaged.

    `weight/mean`, `weight/std`: over targets or, under `position_mean`, over positions of their targets' mean, so that the mean
    is one under `mean_one` in both. `weight/entropy`: of the targets' shares of the loss, over its largest value log N.
    `weight/selected_head<h>`: share of the head's targets with a weight above zero. `whose`: see `Weighted.broken`.
    """
    metrics = StepMetrics()
    factors_H, (amount_H, log_H, square_H) = weighted.factors(), weighted.sums_3H
    count = weighted.counts_H.sum()
    mass = weighted.num_positions.squeeze(0) if weighted.loss.reduction == "position_mean" else count
    amount = (factors_H * amount_H).sum()
    mean = amount / mass
    variance = (factors_H.square() * square_H).sum() / mass - mean.square()
    logs = (factors_H * log_H + torch.xlogy(factors_H, factors_H) * amount_H).sum()
    entropy = (amount.log() - logs / amount) / count.clamp(min=2).log()
    one = torch.ones_like(mean)
    metrics.ratios["weight/mean"] = (mean, one)
    metrics.ratios["weight/std"] = (variance.clamp(min=0).sqrt(), one)
    metrics.ratios["weight/entropy"] = (entropy, one)
    weights_BTH, valid_BTH = weighted.scaled(), weighted.labels_BTH != IGNORE_INDEX
    for h in range(weights_BTH.shape[-1]):
        metrics.ratios[f"weight/selected_head{h}"] = ((weights_BTH[..., h] > 0).sum(), valid_BTH[..., h].sum())
    metrics.maxima["weight/max"] = weights_BTH.max()
    metrics.minima["weight/min"] = weights_BTH.masked_fill(~valid_BTH, torch.inf).min()
    metrics.broken |= weighted.broken(whose)
    return metrics
