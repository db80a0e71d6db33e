"""Weights from a critic's TD errors.

Shapes: B batch, T sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from wmtp.objectives.hashing import hashed_uniform

MIN_STD = 1e-5
"""Values are float32 probabilities: the TD errors of a critic that says the same everywhere spread by 1e-7."""


@dataclass(frozen=True)
class TDStatistics:
    """Mean and standard deviation of the TD errors (or advantages) of every response token of the dataset.

    Raises:
        ValueError: they spread by no more than rounding: there is nothing to whiten.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not self.std >= MIN_STD:
            raise ValueError(f"the TD errors' standard deviation is {self.std:.2g}: the critic's values say nothing")


def spread(parts: Iterable[tuple[torch.Tensor, int]]) -> TDStatistics:
    """Exact mean and standard deviation over a dataset that comes in parts.

    Args:
        parts: (TD errors, 0 outside the response; number of response tokens) of every part.
    Raises:
        ValueError: as `TDStatistics`, or no response tokens.
    """
    total, squares, count = 0.0, 0.0, 0
    for deltas, number in parts:
        total += float(deltas.double().sum())
        squares += float(deltas.double().square().sum())
        count += number
    if not count:
        raise ValueError("no response tokens: there are no TD errors")
    mean = total / count
    return TDStatistics(mean=mean, std=max(0.0, squares / count - mean**2) ** 0.5)


def td_weights(
    deltas_BT: torch.Tensor, statistics: TDStatistics, *, beta: float, clip_min: float, clip_max: float
) -> torch.Tensor:
    """`clip(exp(z / beta), clip_min, clip_max)` with `z` the whitened TD error.

    Args:
        deltas_BT: TD errors of response tokens (other entries are meaningless).
        statistics: of the whole dataset, so that a token's weight does not depend on its batch.
    Returns:
        weights_BT, float32; not yet mean-one.
    Source: exponential advantage weighting, AWR, arXiv 1910.00177, equation 3.
    """
    z_BT = (deltas_BT.double() - statistics.mean) / statistics.std
    return (z_BT / beta).exp().clamp(clip_min, clip_max).float()


def shuffle_response(
    weights_BT: torch.Tensor, prompt_lens_B: torch.Tensor, lengths_B: torch.Tensor, rows_B: torch.Tensor, seed: int
) -> torch.Tensor:
    """Permute each row's weights among its response tokens, the same way whenever that row comes up.

    Args:
        weights_BT: one weight a token.
        rows_B: the rows' numbers in the dataset.
    Returns:
        weights_BT with response entries permuted and the others as they were.
    """
    position_T = torch.arange(weights_BT.shape[1], device=weights_BT.device)
    response_BT = (position_T >= prompt_lens_B.unsqueeze(1)) & (position_T < lengths_B.unsqueeze(1))
    key_BT = hashed_uniform(seed, rows_B.unsqueeze(1), position_T.unsqueeze(0))
    place_BT = torch.where(response_BT, 2 + key_BT, torch.where(position_T < prompt_lens_B.unsqueeze(1), 0.0, 4.0))
    source_BT = torch.argsort(place_BT, dim=1, stable=True)
    return torch.where(response_BT, weights_BT.gather(1, source_BT), weights_BT)
