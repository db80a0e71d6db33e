"""Sampling that belongs to a row: which token comes next depends on the logits, the row's key and the place in the text.

Shapes: R rows, V vocabulary.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from wmtp.objectives.hashing import GOLDEN, as_uniform, splitmix64

_FIRST_LOOK = 256
"""So many tokens are looked at first, and eight times as many whenever a nucleus is larger."""

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
    sorted_RK, tokens_RK = _most_probable(probabilities_RV, top_p)
    cumulative_RK = sorted_RK.cumsum(dim=-1)
    kept_R = (cumulative_RK - sorted_RK < top_p).sum(dim=-1, keepdim=True)
    drawn_R = uniforms_R[open_rows].unsqueeze(1) * cumulative_RK.gather(1, kept_R - 1)
    place_R = torch.minimum((cumulative_RK <= drawn_R).sum(dim=-1, keepdim=True), kept_R - 1)
    chosen_R[open_rows] = tokens_RK.gather(1, place_R).squeeze(1)
    return chosen_R


def _most_probable(probabilities_RV: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """As many of each row's most probable tokens as hold every row's nucleus, sorted: most probable first, then by number.

    Nuclei are small, so sorting the whole vocabulary is most of the work. A token as probable as the last one that was found
    may have been left out in favour of one with a larger number, so the nucleus has to be complete before it.
    """
    size = probabilities_RV.shape[1]
    number = min(_FIRST_LOOK, size)
    while number < size and top_p < 1:
        found_RK, tokens_RK = probabilities_RV.topk(number, dim=-1)
        certain_RK = torch.where(found_RK > found_RK[:, -1:], found_RK, 0.0)
        if bool((certain_RK.sum(dim=-1) > top_p + _ROUNDING).all()):
            by_number_RK = tokens_RK.sort(dim=-1).values
            sorted_RK, order_RK = probabilities_RV.gather(1, by_number_RK).sort(dim=-1, descending=True, stable=True)
            return sorted_RK, by_number_RK.gather(1, order_RK)
        number *= 8
    return probabilities_RV.sort(dim=-1, descending=True, stable=True)
