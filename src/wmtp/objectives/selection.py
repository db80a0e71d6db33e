"""Selection of targets over the whole global batch, and the guess of it while a forward pass goes on.

Shapes: B batch, T sequence, H heads, N values, R rows of one chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from wmtp.objectives.shift import heads_first

Gather = Callable[[torch.Tensor], torch.Tensor]
"""Concatenates a one-dimensional tensor over ranks (and micro-batches), in the same order everywhere."""


def excess_scores(nll_BTH: torch.Tensor, reference_nll_BTH: torch.Tensor, mode: str) -> torch.Tensor:
    """How much each target is worth learning.

    Args:
        nll_BTH: policy NLL (detached here); reference_nll_BTH: the reference's NLL of the same target token.
        mode: `signed`, policy minus reference; `absolute`, its magnitude; `difficult`, the reference's NLL alone.
    Returns:
        scores_BTH, float32 or wider.
    Raises:
        ValueError: unknown mode.
    Source: Rho-1, arXiv 2404.07965, equation 3.
    """
    if mode == "difficult":
        return reference_nll_BTH.float()
    excess_BTH = nll_BTH.detach() - reference_nll_BTH
    if mode == "signed":
        return excess_BTH
    if mode == "absolute":
        return excess_BTH.abs()
    raise ValueError(f"mode={mode!r} must be signed, absolute or difficult")


def select_top(
    scores_BTH: torch.Tensor, valid_BTH: torch.Tensor, positions_BT: torch.Tensor, keep_frac: float, gather: Gather
) -> torch.Tensor:
    """Keep the highest-scoring valid targets of each head of the global batch.

    Args:
        scores_BTH: higher is kept first; NaN counts as lowest (a step whose NLLs are NaN ends the run by its loss).
        valid_BTH: True where the label is a target.
        positions_BT: int64, a token's place in the global batch; breaks ties (lower first), so that the choice does
            not depend on how the batch is split.
        keep_frac: fraction of valid targets kept per head, in (0, 1].
        gather: see `Gather`.
    Returns:
        0/1 weights (B, T, H), float32, exactly ceil(keep_frac * N_h) ones per head of the global batch.
    Raises:
        ValueError: keep_frac outside (0, 1].
    Source: Rho-1, arXiv 2404.07965, section 2.2.
    """
    kept_BTH = torch.zeros_like(scores_BTH, dtype=torch.float32)
    for head in range(scores_BTH.shape[-1]):
        valid_BT = valid_BTH[..., head]
        scores_BT = torch.where(torch.isnan(scores_BTH[..., head]), -torch.inf, scores_BTH[..., head])
        last = last_kept(gather(scores_BT[valid_BT]), gather(positions_BT[valid_BT]), keep_frac)
        if last is not None:
            kept_BTH[..., head] = (last.keeps(scores_BT, positions_BT) & valid_BT).float()
    return kept_BTH


class LastKept:
    """Where a selection of the highest scores ends: the lowest kept score, and the last place kept among its equals."""

    def __init__(self, score: torch.Tensor, position: torch.Tensor) -> None:
        self.score, self.position = score, position

    def keeps(self, scores: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Whether each score is part of the selection (any shape; `positions` likewise)."""
        return (scores > self.score) | ((scores == self.score) & (positions <= self.position))


def last_kept(scores_N: torch.Tensor, positions_N: torch.Tensor, keep_frac: float) -> LastKept | None:
    """The end of the selection of the ceil(keep_frac * N) highest of all scores, ties by position; None for no scores.

    Raises:
        ValueError: keep_frac outside (0, 1].
    """
    if not 0 < keep_frac <= 1:
        raise ValueError(f"keep_frac={keep_frac} must be in (0, 1]")
    num_kept = num_to_keep(keep_frac, scores_N.numel())
    if num_kept == 0:
        return None
    threshold = torch.topk(scores_N, num_kept, sorted=False).values.min()
    num_ties_kept = num_kept - int((scores_N > threshold).sum())
    ties = positions_N[scores_N == threshold]
    return LastKept(threshold, torch.topk(ties, num_ties_kept, largest=False, sorted=False).values.max())


def num_to_keep(keep_frac: float, num_valid: int) -> int:
    """ceil(keep_frac * num_valid), guarded against 0.6 * 5 = 3.0000000000000004."""
    return min(num_valid, math.ceil(keep_frac * num_valid - 1e-9))


def value_at_risk(scores_N: torch.Tensor, alpha: float) -> torch.Tensor:
    """The smallest score that a share of at least alpha of all scores does not exceed: the ceil(alpha * N)-th smallest.

    Args:
        scores_N: at least one; NaN counts as highest.
        alpha: level, in (0, 1).
    Raises:
        ValueError: alpha outside (0, 1).
    Source: ESLM, arXiv 2505.19893 (empirical value-at-risk of a batch).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha} must be in (0, 1)")
    return torch.kthvalue(scores_N, max(1, num_to_keep(alpha, scores_N.numel()))).values


class LikelySelection:
    """Guesses, while a forward pass goes on, which targets `select_top` is going to keep; a `ScaleGuess` of `linear_nll`.

    Of a head's n targets whose NLLs are known so far, chunks of rows spread evenly over the batch, the one of rank r (1 is the
    highest score) is guessed to be kept where

        r <= f n - sqrt(n f (1 - f)),    f = keep_frac:

    the number of kept targets among n random ones is f n with that standard deviation, so five guesses of six are right at the
    margin (and nearly all above it), and a wrong guess costs what five right ones save. Only this call's own scores are
    looked at, so that a step is a function of its batch.
    """

    def __init__(
        self, reference_nll_BTH: torch.Tensor, scale_BTH: torch.Tensor, keep_frac_H: Sequence[float], mode: str
    ) -> None:
        """
        Args:
            reference_nll_BTH: what `excess_scores` subtracts.
            scale_BTH: a target's scale in the loss if it is kept, up to one factor for all.
            keep_frac_H: fraction of each head's valid targets that will be kept.
            mode: of `excess_scores`.
        """
        self._reference_N, self._scale_N = heads_first(reference_nll_BTH), heads_first(scale_BTH)
        self._mode, self._rows_per_head = mode, reference_nll_BTH[..., 0].numel()
        self.most = max(keep_frac_H)
        device = reference_nll_BTH.device
        self._heads_H1 = torch.arange(len(keep_frac_H), device=device).unsqueeze(1)
        self._keep_frac_H = torch.stack([torch.full((), f, dtype=torch.float64, device=device) for f in keep_frac_H])
        self._count_H = torch.zeros_like(self._keep_frac_H)
        self._seen_HN = reference_nll_BTH.new_empty(len(keep_frac_H), 0)

    def __call__(self, rows_R: torch.Tensor, nll_R: torch.Tensor) -> torch.Tensor:
        """`rows_R`: places in `heads_first` order. Nothing here waits for the device: how many rows are whose stays there."""
        scores_R = excess_scores(nll_R, self._reference_N[rows_R], self._mode)
        heads_R = rows_R // self._rows_per_head
        is_own_HR = heads_R == self._heads_H1
        self._seen_HN = torch.cat([self._seen_HN, torch.where(is_own_HR, scores_R, -torch.inf)], dim=1)
        self._count_H += is_own_HR.sum(dim=1)
        n_H, f_H = self._count_H, self._keep_frac_H
        last_rank_H = (f_H * n_H - (n_H * f_H * (1 - f_H)).sqrt()).long()
        ranked_HN = self._seen_HN.sort(dim=1, descending=True).values
        threshold_H = ranked_HN.gather(1, (last_rank_H - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        likely_R = (scores_R >= threshold_H[heads_R]) & (last_rank_H > 0)[heads_R]
        return torch.where(likely_R, self._scale_N[rows_R], 0.0)
