"""Token-order prediction: an auxiliary loss that ranks the vocabulary by how soon each token comes.

Shapes: B batch, T sequence, W window.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wmtp.objectives.shift import shift_labels
from wmtp.types import IGNORE_INDEX


@dataclass(frozen=True)
class OrderTargets:
    """What is to come within a window, position by position; see `order_targets`.

    labels_BT: the next token, IGNORE_INDEX where nothing is ranked. tokens_BTW: the tokens after it, in their order.
    shares_BTW: float32, of each place's token; 0 where it came before, or where there is none.
    scale_BT: the gradient of the loss with respect to the result where it is known ahead, see `linear_nll`.
    """

    labels_BT: torch.Tensor
    tokens_BTW: torch.Tensor
    shares_BTW: torch.Tensor
    scale_BT: torch.Tensor | None = None


def order_targets(labels_BT: torch.Tensor, window: int, segment_ids_BT: torch.Tensor | None = None) -> OrderTargets:
    """The distribution over the vocabulary that a position's ranking is compared with.

    A token that first comes `d` places ahead, 1 <= d <= window, scores `window - d`, any other minus infinity. The target is
    the softmax of the scores: a token's share is `exp(-d)` over the sum of these. Only targets count as coming: no prompt, no
    padding, nothing of another document. Positions whose own next token is none rank nothing.

    Args:
        labels_BT: token ids, IGNORE_INDEX where a token is no target.
        window: how many tokens ahead are ranked.
        segment_ids_BT: see `shift_labels`.
    Returns:
        OrderTargets; never a row of the vocabulary's size.
    Raises:
        ValueError: window < 1.
    Source: Zuhri et al. 2025, arXiv 2508.19228, with the loss of ListNet (Cao et al. 2007). The authors' code counts places
        from the next token on and includes both ends: its `window_size` of W is W + 1 here.
    """
    coming_BTW = shift_labels(labels_BT, window, segment_ids_BT)
    is_target_BTW = coming_BTW != IGNORE_INDEX
    position_T = torch.arange(labels_BT.shape[1], device=labels_BT.device)
    before_BTW = shift_labels(_place_before(labels_BT), window)
    is_first_BTW = is_target_BTW & (before_BTW <= position_T[:, None])
    distance_W = torch.arange(window, device=labels_BT.device, dtype=torch.float32)
    shares_BTW = torch.where(is_first_BTW, torch.exp(-distance_W), 0.0)
    shares_BTW = shares_BTW / shares_BTW.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return OrderTargets(coming_BTW[..., 0], coming_BTW.clamp(min=0), shares_BTW)


def _place_before(labels_BT: torch.Tensor) -> torch.Tensor:
    """Where each token came last before its place, -1 where it did not."""
    order_BT = labels_BT.argsort(dim=1, stable=True)  # equal tokens side by side, in the order of their places
    sorted_BT = labels_BT.gather(1, order_BT)
    again_BT = sorted_BT[:, 1:] == sorted_BT[:, :-1]
    before_BT = torch.nn.functional.pad(torch.where(again_BT, order_BT[:, :-1], -1), (1, 0), value=-1)
    return torch.empty_like(order_BT).scatter_(1, order_BT, before_BT)
