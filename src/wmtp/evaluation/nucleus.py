"""Sampling that belongs to a row: which token comes next depends on the logits, the row's key and the place in the text.

Shapes: R rows, V vocabulary.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from wmtp.objectives.hashing import GOLDEN, as_uniform, splitmix64

_FIRST_LOOK = 256
"""So many of the most probable tokens are sorted first: they hold most nuclei."""

_NUM_BINS, _WIDEST = 1024, 40.0
"""Tokens are put into so many bins by their logit, from the largest one down to what is exp(-40) as probable, or less."""

_ROUNDING = 1e-12
"""More than sums of probabilities can differ by, in whatever order."""


def row_key(seed: int, task_id: str, sample: int | str) -> int:
    """64 bits that stand for one row's random stream."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{task_id}\0{sample}".encode(), digest_size=8).digest(), "little")


def uniforms(keys_R: np.ndarray, position: int | np.ndarray) -> np.ndarray:
    """Number `position` (of each row, or the same for all) of every row's stream, float64 in [0, 1).

    Source: SplitMix64 as a counter-based generator, see `splitmix64`.
    """
    with np.errstate(over="ignore"):
        states_R = keys_R + np.asarray(position).astype(np.uint64) * np.int64(GOLDEN).astype(np.uint64)
    return as_uniform(splitmix64(torch.from_numpy(states_R.view(np.int64)))).numpy()


def sample_top_p(logits_RV: torch.Tensor, uniforms_R: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """One token a row by inverting the distribution function of the nucleus, most probable tokens first.

    The nucleus is the smallest set of most probable tokens with probability at least `top_p`.

    Args:
        logits_RV: any float dtype; uniforms_R: float64 in [0, 1).
    Returns:
        token ids (R,).
    Source: nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751.
    """
    chosen_R = logits_RV.argmax(dim=-1)
    most_R = torch.softmax(logits_RV.float() / temperature, dim=-1).amax(dim=-1)
    open_rows = torch.nonzero(most_R < top_p).squeeze(1)
    if not len(open_rows):
        return chosen_R
    probabilities_RV = torch.softmax(logits_RV[open_rows].double() / temperature, dim=-1)
    drawn_R, is_found_R = _of_few(probabilities_RV, uniforms_R[open_rows], top_p)
    wide = torch.nonzero(~is_found_R).squeeze(1)
    if len(wide):
        tempered_RV = logits_RV[open_rows[wide]].float() / temperature
        drawn_R[wide] = _of_many(probabilities_RV[wide], tempered_RV, uniforms_R[open_rows[wide]], top_p)
    chosen_R[open_rows] = drawn_R
    return chosen_R


def _of_few(probabilities_RV: torch.Tensor, uniforms_R: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens (R,), and in which rows they are the right ones: where few tokens hold the nucleus.

    A token as probable as the last one that was found may have been left out in favour of one with a larger number, so the
    nucleus has to be complete before it.
    """
    found_RK, tokens_RK = probabilities_RV.topk(min(_FIRST_LOOK, probabilities_RV.shape[1]), dim=-1)
    certain_RK = torch.where(found_RK > found_RK[:, -1:], found_RK, 0.0)
    is_found_R = certain_RK.sum(dim=-1) > top_p + _ROUNDING
    by_number_RK = tokens_RK.sort(dim=-1).values
    sorted_RK, order_RK = probabilities_RV.gather(1, by_number_RK).sort(dim=-1, descending=True, stable=True)
    cumulative_RK = sorted_RK.cumsum(dim=-1)
    last_R = (cumulative_RK - sorted_RK < top_p).sum(dim=-1, keepdim=True) - 1
    drawn_R = uniforms_R.unsqueeze(1) * cumulative_RK.gather(1, last_R)
    place_R = torch.minimum((cumulative_RK <= drawn_R).sum(dim=-1, keepdim=True), last_R)
    return by_number_RK.gather(1, order_RK.gather(1, place_R)).squeeze(1), is_found_R


def _of_many(probabilities_RV: torch.Tensor, tempered_RV: torch.Tensor, uniforms_R: torch.Tensor, top_p: float) -> torch.Tensor:
    """The tokens (R,) of whatever nuclei, of which two bins are sorted: that in which the nucleus ends, and that of the token.

    Args:
        tempered_RV: logits over the temperature, by which tokens are put into bins.
    """
    below_RV = tempered_RV.amax(dim=-1, keepdim=True) - tempered_RV
    widest_R = below_RV.amax(dim=-1, keepdim=True).clamp(1e-6, _WIDEST)
    bins_RV = (below_RV * (_NUM_BINS / widest_R)).clamp(max=_NUM_BINS - 1).long()
    masses_RN = probabilities_RV.new_zeros(len(bins_RV), _NUM_BINS).scatter_add_(1, bins_RV, probabilities_RV)
    cumulative_RN = masses_RN.cumsum(dim=-1)
    before_RN = cumulative_RN - masses_RN
    end_R = (cumulative_RN < cumulative_RN[:, -1:].clamp(max=top_p)).sum(dim=-1)
    sorted_RK, _ = _sorted_bin(probabilities_RV, bins_RV, end_R)
    up_to_RK = before_RN.gather(1, end_R.unsqueeze(1)) + sorted_RK.cumsum(dim=-1)
    last_R = ((up_to_RK - sorted_RK < top_p) & (sorted_RK > 0)).sum(dim=-1, keepdim=True).clamp(min=1) - 1
    drawn_R = uniforms_R.unsqueeze(1) * up_to_RK.gather(1, last_R)
    bin_R = torch.minimum((cumulative_RN <= drawn_R).sum(dim=-1), end_R)
    sorted_RK, tokens_RK = _sorted_bin(probabilities_RV, bins_RV, bin_R)
    up_to_RK = before_RN.gather(1, bin_R.unsqueeze(1)) + sorted_RK.cumsum(dim=-1)
    least_R = torch.where((bin_R == end_R).unsqueeze(1), last_R, (sorted_RK > 0).sum(dim=-1, keepdim=True) - 1)
    place_R = torch.minimum((up_to_RK <= drawn_R).sum(dim=-1, keepdim=True), least_R)
    return tokens_RK.gather(1, place_R).squeeze(1)


def _sorted_bin(
    probabilities_RV: torch.Tensor, bins_RV: torch.Tensor, bin_R: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of one bin of each row the probabilities and the tokens (R, K): most probable first, then by number, then zeros."""
    rows_N, tokens_N = (bins_RV == bin_R.unsqueeze(1)).nonzero(as_tuple=True)
    counts_R = torch.bincount(rows_N, minlength=len(bins_RV))
    places_N = torch.arange(len(rows_N), device=rows_N.device) - (counts_R.cumsum(0) - counts_R)[rows_N]
    found_RK = probabilities_RV.new_zeros(len(bins_RV), int(counts_R.max()))
    numbers_RK = torch.zeros_like(found_RK, dtype=torch.long)
    found_RK[rows_N, places_N], numbers_RK[rows_N, places_N] = probabilities_RV[rows_N, tokens_N], tokens_N
    sorted_RK, order_RK = found_RK.sort(dim=-1, descending=True, stable=True)
    return sorted_RK, numbers_RK.gather(1, order_RK)
