"""Selection of targets over the whole global batch: Rho-1 and its controls.

Shapes: B batch, T sequence, H heads, N values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from wmtp.objectives.shift import heads_first

Gather = Callable[[torch.Tensor], torch.Tensor]
"""Concatenates a one-dimensional tensor over ranks (and micro-batches), in the same order everywhere."""


def rho1_scores(nll_BTH: torch.Tensor, reference_nll_BTH: torch.Tensor, mode: str) -> torch.Tensor:
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
        scores_BTH: higher is kept first.
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
    if not 0 < keep_frac <= 1:
        raise ValueError(f"keep_frac={keep_frac} must be in (0, 1]")
    kept_BTH = torch.zeros_like(scores_BTH, dtype=torch.float32)
    for head in range(scores_BTH.shape[-1]):
        valid_BT, scores_BT = valid_BTH[..., head], scores_BTH[..., head]
        all_scores = gather(scores_BT[valid_BT])
        all_positions = gather(positions_BT[valid_BT])
        num_kept = num_to_keep(keep_frac, all_scores.numel())
        if num_kept == 0:
            continue
        threshold = torch.topk(all_scores, num_kept, sorted=False).values.min()
        num_ties_kept = num_kept - int((all_scores > threshold).sum())
        ties = all_positions[all_scores == threshold]
        last_tie = torch.topk(ties, num_ties_kept, largest=False, sorted=False).values.max()
        kept_BT = (scores_BT > threshold) | ((scores_BT == threshold) & (positions_BT <= last_tie))
        kept_BTH[..., head] = (kept_BT & valid_BT).float()
    return kept_BTH


def num_to_keep(keep_frac: float, num_valid: int) -> int:
    """ceil(keep_frac * num_valid), guarded against 0.6 * 5 = 3.0000000000000004."""
    return min(num_valid, math.ceil(keep_frac * num_valid - 1e-9))


class LikelySelection:
    """Guesses, while a forward pass goes on, which targets `select_top` is going to keep; a `Guess` of `linear_nll`.

    A target is guessed to be kept when its score is among the highest of its head so far, with a margin of one standard
    error on how many those are: then five guesses of six are right at the margin, and a wrong one costs what five right
    ones save. Only this call's own scores are looked at, so that a step is a function of its batch.
    """

    def __init__(
        self, reference_nll_BTH: torch.Tensor, scale_BTH: torch.Tensor, keep_frac_H: Sequence[float], mode: str
    ) -> None:
        """
        Args:
            reference_nll_BTH: what `rho1_scores` subtracts.
            scale_BTH: the gradient of the loss with respect to a target's NLL if it is kept, up to one factor for all.
            keep_frac_H: fraction of each head's valid targets that will be kept.
            mode: of `rho1_scores`.
        """
        self._reference_N, self._scale_N = heads_first(reference_nll_BTH), heads_first(scale_BTH)
        self._keep_frac_H, self._mode = keep_frac_H, mode
        self._rows_per_head = reference_nll_BTH[..., 0].numel()
        self._seen_H = [reference_nll_BTH.new_empty(0) for _ in keep_frac_H]

    def __call__(self, rows_R: torch.Tensor, nll_R: torch.Tensor) -> torch.Tensor:
        """`rows_R`: places in `heads_first` order."""
        scores_R = rho1_scores(nll_R, self._reference_N[rows_R], self._mode)
        heads_R = rows_R // self._rows_per_head
        likely_R = torch.zeros_like(heads_R, dtype=torch.bool)
        for head, keep_frac in enumerate(self._keep_frac_H):
            seen = torch.cat([self._seen_H[head], scores_R[heads_R == head]])
            self._seen_H[head] = seen
            margin = math.sqrt(seen.numel() * keep_frac * (1 - keep_frac))
            num_certain = int(keep_frac * seen.numel() - margin)
            if num_certain > 0:
                threshold = torch.topk(seen, num_certain, sorted=False).values.min()
                likely_R |= (heads_R == head) & (scores_R >= threshold)
        return torch.where(likely_R, self._scale_N[rows_R], 0.0)


def _splitmix64(x: torch.Tensor) -> torch.Tensor:
    """Steele et al. 2014's mixer on int64 (wraps); shifts are made logical by masking."""

    def shift(value: torch.Tensor, bits: int) -> torch.Tensor:
        return (value >> bits) & ((1 << (64 - bits)) - 1)

    x = x + -7046029254386353131
    x = (x ^ shift(x, 30)) * -4658895280553007687
    x = (x ^ shift(x, 27)) * -7723592293110705685
    return x ^ shift(x, 31)


def hashed_uniform(seed: int, *keys: torch.Tensor) -> torch.Tensor:
    """A uniform number in [0, 1) that depends on the integers alone: not on ranks, batch sizes or call order.

    Args:
        seed: any integer; keys: int64 tensors, broadcast together.
    Returns:
        float64, the keys' common shape.
    """
    state = torch.tensor(seed, dtype=torch.int64, device=keys[0].device)
    for key in keys:
        state = _splitmix64(state ^ _splitmix64(key))
    return ((state >> 11) & ((1 << 53) - 1)).double() / float(1 << 53)
