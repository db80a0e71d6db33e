"""Batched generation with a KV cache: greedy and sampled, several samples per prompt from one prefill.

Shapes: B rows, P prompt length (left-padded), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from wmtp.objectives.rho1 import hashed_uniform


@dataclass(frozen=True)
class Decoding:
    """How completions are drawn. `temperature` 0 is greedy (one sample per prompt)."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    num_samples: int = 1
    seed: int = 0


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    prompt_ids: Sequence[int],
    decoding: Decoding,
    *,
    eos_token_id: int,
    pad_token_id: int,
    batch_size: int,
    on_done: Callable[[int], None] | None = None,
) -> list[list[list[int]]]:
    """Completions of every prompt.

    A row's random numbers are a function of (seed, prompt id, sample, position) alone, so that the result does not
    depend on batch size, order or number of ranks (beyond what rounding does to probabilities).

    Args:
        model: a causal LM with transformers' cache interface.
        prompts: token ids; prompt_ids: a number that identifies each prompt.
        batch_size: rows decoded at the same time (prompts x samples, at least one prompt).
        on_done: called with the number of prompts finished so far.
    Returns:
        for every prompt, for every sample, the new token ids without EOS.
    """
    results: list[list[list[int]]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    step = max(1, batch_size // decoding.num_samples)
    for start in range(0, len(order), step):
        part = order[start : start + step]
        rows = _decode(model, [prompts[i] for i in part], [prompt_ids[i] for i in part], decoding, eos_token_id, pad_token_id)
        for place, i in enumerate(part):
            results[i] = rows[place * decoding.num_samples : (place + 1) * decoding.num_samples]
        if on_done is not None:
            on_done(start + len(part))
    return results


def _decode(
    model: Any, prompts: Sequence[Sequence[int]], prompt_ids: Sequence[int], decoding: Decoding, eos: int, pad: int
) -> list[list[int]]:
    """One batch: prefill each prompt once, repeat it per sample, then token by token; finished rows leave the batch."""
    device = next(model.parameters()).device
    width = max(len(prompt) for prompt in prompts)
    ids_BP = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask_BP = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    cache = DynamicCache(config=model.config)
    logits_BV = _forward(model, ids_BP, mask_BP, cache)
    repeat, num = decoding.num_samples, len(prompts) * decoding.num_samples
    cache.batch_repeat_interleave(repeat)
    logits_BV, mask = logits_BV.repeat_interleave(repeat, dim=0), mask_BP.repeat_interleave(repeat, dim=0)
    keys = torch.tensor(list(prompt_ids), device=device).repeat_interleave(repeat)
    samples = torch.arange(repeat, device=device).repeat(len(prompts))
    alive = torch.arange(num, device=device)
    finished = torch.zeros(num, dtype=torch.bool, device=device)
    done: list[list[int]] = [[] for _ in range(num)]
    for position in range(decoding.max_new_tokens):
        tokens_B = _choose(logits_BV, decoding, keys[alive], samples[alive], position)
        finished |= tokens_B == eos
        for row, token, over in zip(alive.tolist(), tokens_B.tolist(), finished.tolist(), strict=True):
            if not over:
                done[row].append(token)
        if finished.all() or position + 1 == decoding.max_new_tokens:
            break
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        if finished.sum() * 4 >= len(alive):
            stay = (~finished).nonzero().squeeze(1)
            cache.batch_select_indices(stay)
            alive, tokens_B, mask, finished = alive[stay], tokens_B[stay], mask[stay], finished[stay]
        logits_BV = _forward(model, tokens_B.unsqueeze(1), mask, cache)
    return done


def _forward(model: Any, ids: torch.Tensor, mask: torch.Tensor, cache: Any) -> torch.Tensor:
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    output = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
    )
    logits: torch.Tensor = output.logits[:, -1].float()
    return logits


def _choose(
    logits_BV: torch.Tensor, decoding: Decoding, keys_B: torch.Tensor, samples_B: torch.Tensor, position: int
) -> torch.Tensor:
    """The next token of every row: the largest logit, or by inversion of the top-p distribution's CDF."""
    if decoding.temperature == 0:
        return logits_BV.argmax(dim=-1)
    sorted_BV, index_BV = (logits_BV.double() / decoding.temperature).sort(dim=-1, descending=True, stable=True)
    probs_BV = sorted_BV.softmax(dim=-1)
    before_BV = probs_BV.cumsum(dim=-1) - probs_BV
    cdf_BV = probs_BV.masked_fill(before_BV >= decoding.top_p, 0.0).cumsum(dim=-1)
    uniform_B = hashed_uniform(decoding.seed, keys_B, samples_B, torch.full_like(keys_B, position))
    place_B1 = torch.searchsorted(cdf_BV, (uniform_B * cdf_BV[:, -1]).unsqueeze(1), right=True)
    return index_BV.gather(1, place_B1.clamp(max=index_BV.shape[1] - 1)).squeeze(1)
