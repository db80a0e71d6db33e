"""Sampling that belongs to a row: which token comes next depends on the logits, the row's key and the place in the text.

Shapes: R rows, V vocabulary.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from wmtp.objectives.hashing import GOLDEN, as_uniform, splitmix64


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
    sorted_RV, tokens_RV = probabilities_RV.sort(dim=-1, descending=True, stable=True)
    cumulative_RV = sorted_RV.cumsum(dim=-1)
    kept_R = (cumulative_RV - sorted_RV < top_p).sum(dim=-1, keepdim=True)
    drawn_R = uniforms_R[open_rows].unsqueeze(1) * cumulative_RV.gather(1, kept_R - 1)
    place_R = torch.minimum((cumulative_RV <= drawn_R).sum(dim=-1, keepdim=True), kept_R - 1)
    chosen_R[open_rows] = tokens_RV.gather(1, place_R).squeeze(1)
    return chosen_R
