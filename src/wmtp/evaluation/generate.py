"""Batched generation with a key-value cache: greedy and sampled completions of one prompt share its prefill.

What a row becomes depends on the model, its prompt, the seed, the task id and the sample's number, never on the batch
it happens to be in or on the rank that computes it (up to rounding of the logits).

Shapes: R rows (task x sample), B prompts, T positions, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from wmtp.evaluation.benchmarks import before_stop

if TYPE_CHECKING:
    from tokenizers import Tokenizer

GREEDY = -1
"""Sample number of the greedy completion."""

_DROP_BELOW = 0.8
"""Finished rows leave the batch once at most this share of it is still at work."""


@dataclass(frozen=True)
class Prompt:
    task_id: str
    input_ids: tuple[int, ...]


@dataclass(frozen=True)
class Decoding:
    """How to continue a prompt. `stop`: a completion ends before the first of these strings."""

    num_samples: int
    temperature: float
    top_p: float
    seed: int
    max_new_tokens: int
    batch_size: int
    eos_token_ids: tuple[int, ...]
    pad_token_id: int
    stop: tuple[str, ...] = ()
    greedy: bool = True

    @property
    def samples(self) -> list[int]:
        """Sample numbers of one task, `GREEDY` first."""
        return [GREEDY] * self.greedy + list(range(self.num_samples))


@dataclass(frozen=True)
class Completion:
    """`finish`: `eos`, `stop` (a stop string) or `length` (max_new_tokens). `num_tokens` were generated for it."""

    task_id: str
    sample: int
    text: str
    finish: str
    num_tokens: int


def generate(model: nn.Module, tokenizer: Tokenizer, prompts: Sequence[Prompt], decoding: Decoding) -> list[Completion]:
    """Every completion of every prompt, in the order of prompts and samples."""
    done = {(c.task_id, c.sample): c for batch in generate_batches(model, tokenizer, prompts, decoding) for c in batch}
    return [done[prompt.task_id, sample] for prompt in prompts for sample in decoding.samples]


@torch.inference_mode()
def generate_batches(
    model: nn.Module, tokenizer: Tokenizer, prompts: Sequence[Prompt], decoding: Decoding
) -> Iterator[list[Completion]]:
    """As `generate`, batch by batch, in whatever order is fast (prompts of similar lengths together).

    Raises:
        ValueError: an empty prompt.
    """
    rows: list[tuple[Prompt, int]] = []
    for prompt in sorted(prompts, key=lambda prompt: (len(prompt.input_ids), prompt.task_id)):
        if not prompt.input_ids:
            raise ValueError(f"the prompt of {prompt.task_id} has no tokens")
        wanted = [(prompt, sample) for sample in decoding.samples]
        if rows and len(rows) + len(wanted) > decoding.batch_size:
            yield _Rows(model, tokenizer, rows, decoding).run()
            rows = []
        while len(wanted) > decoding.batch_size:
            yield _Rows(model, tokenizer, wanted[: decoding.batch_size], decoding).run()
            wanted = wanted[decoding.batch_size :]
        rows += wanted
    if rows:
        yield _Rows(model, tokenizer, rows, decoding).run()


class _Rows:
    """One batch at work. `alive_R` are the rows still in the cache, as places in `rows`."""

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, rows: list[tuple[Prompt, int]], decoding: Decoding) -> None:
        self.model, self.tokenizer, self.rows, self.decoding = model, tokenizer, rows, decoding
        self.device = next(model.parameters()).device
        self.keys_R = np.array([row_key(decoding.seed, prompt.task_id, sample) for prompt, sample in rows], dtype=np.uint64)
        self.is_greedy_R = np.array([sample == GREEDY for _, sample in rows])
        self.tokens_RT = np.zeros((len(rows), decoding.max_new_tokens), dtype=np.int64)
        self.finished: dict[int, Completion] = {}
        self.alive_R = np.arange(len(rows))
        self.cache = growing_cache(model.config)

    def run(self) -> list[Completion]:
        logits_RV, mask_RT, positions_R = self._prefill()
        width = mask_RT.shape[1] - self.decoding.max_new_tokens
        padded = bool((mask_RT[:, :width] == 0).any())
        for step in range(self.decoding.max_new_tokens):
            chosen_R = self._choose(logits_RV, step)
            self._record(chosen_R, step)
            working = np.array([row not in self.finished for row in self.alive_R])
            if not working.any():
                break
            if working.mean() <= _DROP_BELOW:
                keep = torch.from_numpy(np.flatnonzero(working)).to(self.device)
                self.cache.batch_select_indices(keep)
                mask_RT, positions_R, chosen_R = mask_RT[keep], positions_R[keep], chosen_R[keep]
                self.alive_R = self.alive_R[working]
            output = self.model(
                input_ids=chosen_R.unsqueeze(1),
                attention_mask=mask_RT[:, : width + step + 1] if padded else None,
                position_ids=positions_R.unsqueeze(1),
                past_key_values=self.cache,
                use_cache=True,
            )
            logits_RV, positions_R = output.logits[:, -1], positions_R + 1
        return [self.finished[row] for row in range(len(self.rows))]

    def _prefill(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run each prompt once, left-padded, then repeat its cache for every row.

        Returns:
            logits of the first new token (R, V), mask (R, T + max_new_tokens), next positions (R,).
        """
        prompts = list({prompt.task_id: prompt for prompt, _ in self.rows}.values())
        place = {prompt.task_id: i for i, prompt in enumerate(prompts)}
        lengths_B = torch.tensor([len(prompt.input_ids) for prompt in prompts])
        width = int(lengths_B.max())
        ids_BT = torch.full((len(prompts), width), self.decoding.pad_token_id)
        for i, prompt in enumerate(prompts):
            ids_BT[i, width - len(prompt.input_ids) :] = torch.tensor(prompt.input_ids)
        mask_BT = (torch.arange(width) >= width - lengths_B.unsqueeze(1)).long()
        positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
        output = self.model(
            input_ids=ids_BT.to(self.device),
            attention_mask=mask_BT.to(self.device),
            position_ids=positions_BT.to(self.device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        rows = torch.tensor([place[prompt.task_id] for prompt, _ in self.rows], device=self.device)
        self.cache.batch_select_indices(rows)
        mask_BT = torch.nn.functional.pad(mask_BT, (0, self.decoding.max_new_tokens), value=1)
        return output.logits[rows, -1], mask_BT.to(self.device)[rows], lengths_B.to(self.device)[rows]

    def _choose(self, logits_RV: torch.Tensor, step: int) -> torch.Tensor:
        chosen_R = logits_RV.argmax(dim=-1)
        sampled = np.flatnonzero(~self.is_greedy_R[self.alive_R])
        if len(sampled):
            rows = torch.from_numpy(sampled).to(self.device)
            uniforms_R = torch.from_numpy(uniforms(self.keys_R[self.alive_R[sampled]], step)).to(self.device)
            chosen_R[rows] = sample_top_p(logits_RV[rows], uniforms_R, self.decoding.temperature, self.decoding.top_p)
        return chosen_R

    def _record(self, chosen_R: torch.Tensor, step: int) -> None:
        """Keep the new tokens and see which rows are finished."""
        chosen = chosen_R.cpu().numpy()
        self.tokens_RT[self.alive_R, step] = chosen
        for row, token in zip(self.alive_R.tolist(), chosen.tolist(), strict=True):
            if row in self.finished:
                continue
            if token in self.decoding.eos_token_ids:
                self._finish(row, step, "eos", step + 1)
            elif self._stops(row, step + 1):
                self._finish(row, step + 1, "stop", step + 1)
            elif step + 1 == self.decoding.max_new_tokens:
                self._finish(row, step + 1, "length", step + 1)

    def _stops(self, row: int, length: int) -> bool:
        """Whether a stop string ends in the last token; looks at a tail that is long enough to hold it."""
        if not self.decoding.stop:
            return False
        tail = self.tokens_RT[row, max(0, length - 4 - max(map(len, self.decoding.stop))) : length]
        text = self.tokenizer.decode(tail.tolist(), skip_special_tokens=False)
        return any(string in text for string in self.decoding.stop)

    def _finish(self, row: int, length: int, finish: str, num_tokens: int) -> None:
        text = self.tokenizer.decode(self.tokens_RT[row, :length].tolist(), skip_special_tokens=False)
        prompt, sample = self.rows[row]
        self.finished[row] = Completion(prompt.task_id, sample, before_stop(text, self.decoding.stop), finish, num_tokens)


# ------------------------------------------------------------------------------- random numbers

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def row_key(seed: int, task_id: str, sample: int) -> int:
    """64 bits that stand for one row's random stream."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{task_id}\0{sample}".encode(), digest_size=8).digest(), "little")


def uniforms(keys_R: np.ndarray, position: int) -> np.ndarray:
    """Number `position` of every row's stream, float64 in [0, 1).

    Source: SplitMix64, Steele, Lea and Flood 2014 (OOPSLA), as a counter-based generator.
    """
    with np.errstate(over="ignore"):
        z = keys_R + np.uint64(position + 1) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


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


# ------------------------------------------------------------------------------- cache


class GrowingLayer(DynamicLayer):
    """A cache layer that doubles its room when it is full, instead of copying everything at every step."""

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length, total = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < total:
            self._room = (
                self._wider(self.keys, key_states, length, total),
                self._wider(self.values, value_states, length, total),
            )
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[..., length:total, :] = states
        self.keys, self.values = self._room[0][..., :total, :], self._room[1][..., :total, :]
        return self.keys, self.values

    @staticmethod
    def _wider(old: torch.Tensor | None, states: torch.Tensor, length: int, total: int) -> torch.Tensor:
        room = states.new_zeros((*states.shape[:-2], max(2 * length, total), states.shape[-1]))
        if length and old is not None:
            room[..., :length, :] = old
        return room

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self._room = None

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self._room = None


def growing_cache(config: Any) -> DynamicCache:
    """The model's own kind of cache, with plain layers replaced by growing ones."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
