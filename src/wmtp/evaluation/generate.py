"""Batched generation with a key-value cache: greedy and sampled completions of one prompt share its prefill.

What a row becomes depends on the model, its prompt, the seed, the task id and the sample's number, never on the batch
it happens to be in or on the rank that computes it (up to rounding of the logits).

Self-speculative decoding (Gloeckle et al. 2024, section 3.2): the heads that predict further ahead propose tokens, the
next forward pass of head 0 checks them all at once. A row's choice of a token is a function of head 0's logits and of the
token's place, for samples too (their random numbers are fixed ahead), so what is accepted is what would have been chosen.

Shapes: R rows (task x sample), B prompts, T positions, S tokens of one forward pass (the next one and the proposals),
H heads, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from torch import nn

from wmtp.errors import EvaluationError
from wmtp.evaluation.drafts import Drafts, drafts_of, most_drafts
from wmtp.evaluation.kv_cache import cache_argument, growing_cache, select_rows, step_arguments, takes_back
from wmtp.evaluation.nll import num_heads
from wmtp.evaluation.nucleus import row_key, sample_top_p, uniforms
from wmtp.evaluation.results import GREEDY, Answer, SampleKey
from wmtp.problems.render import before_stop

if TYPE_CHECKING:
    from wmtp.tokens.encode import TextTokenizer

_DROP_BELOW = 0.8
"""Finished rows leave the batch once at most this share of it is still at work."""

OnPass = Callable[[float], None]
"""Told after a forward pass how much of the completions at work is made, in completions of the greatest length."""


@dataclass(frozen=True)
class Prompt:
    task_id: str
    input_ids: tuple[int, ...]


Row = tuple[Prompt, int | str]
"""A prompt and the number of a sample, or `GREEDY`."""


@dataclass(frozen=True)
class Decoding:
    """How to continue a prompt.

    temperature: 0 is greedy decoding of every sample.
    num_drafts: tokens that the further heads propose per forward pass, at most as many as they can, see `most_drafts`. Changes
        the speed, not the completions.
    eos_token_ids: a completion ends before the first of these tokens; stop: and before the first of these strings. What
        they are, the model and the task set say.
    """

    num_samples: int
    temperature: float
    top_p: float
    seed: int
    max_new_tokens: int
    batch_size: int
    num_drafts: int = 0
    greedy: bool = True
    eos_token_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()

    @property
    def samples(self) -> list[int | str]:
        """Of one task, `GREEDY` first."""
        return [GREEDY] * self.greedy + list(range(self.num_samples))


def made_answer(
    text: TextTokenizer, prompt: Prompt, sample: int | str, tokens: Sequence[int], decoding: Decoding, num_forwards: int = 0
) -> Answer:
    """What generated tokens say: up to the first end token, and of that up to the first stop string."""
    end = next((i for i, token in enumerate(tokens) if token in decoding.eos_token_ids), None)
    whole = text.decode(tokens[:end])
    completion = before_stop(whole, decoding.stop)
    finish = "stop" if completion != whole else "length" if end is None else "eos"
    return Answer(prompt.task_id, sample, completion, finish, num_tokens=len(tokens), num_forwards=num_forwards)


def generate(model: nn.Module, text: TextTokenizer, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
    """Every completion of every prompt, in the order of prompts and samples."""
    done = {(c.task_id, c.sample): c for some in generate_batches(model, text, prompts, decoding) for c in some}
    return [done[prompt.task_id, sample] for prompt in prompts for sample in decoding.samples]


class Generate(Protocol):
    """A way to complete prompts."""

    def __call__(
        self,
        model: nn.Module,
        text: TextTokenizer,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        *,
        done: Collection[SampleKey] = (),
        on_pass: OnPass | None = None,
    ) -> Iterator[list[Answer]]:
        """Completions that are not `done`, in whatever order, and some at a time; on_pass: see `OnPass`."""
        ...


@torch.inference_mode()
def generate_batches(
    model: nn.Module,
    text: TextTokenizer,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    *,
    done: Collection[SampleKey] = (),
    on_pass: OnPass | None = None,
) -> Iterator[list[Answer]]:
    """As `generate`, every completion when it ends, in whatever order is fast (prompts of similar lengths together).

    Args:
        done: completions that are not made again; on_pass: see `OnPass`.
    Raises:
        ValueError: an empty prompt.
        EvaluationError: proposals from a model that cannot take tokens back, see `takes_back`.
    """
    for rows in row_batches(prompts, decoding, done):
        yield from _Batch(model, text, rows, decoding).run(on_pass)


def row_batches(prompts: Sequence[Prompt], decoding: Decoding, done: Collection[SampleKey]) -> Iterator[list[Row]]:
    """All completions that are not done, by the batch: prompts of similar lengths together.

    Raises:
        ValueError: an empty prompt.
    """
    rows: list[Row] = []
    for prompt in sorted(prompts, key=lambda prompt: (len(prompt.input_ids), prompt.task_id)):
        if not prompt.input_ids:
            raise ValueError(f"the prompt of {prompt.task_id} has no tokens")
        wanted = [(prompt, sample) for sample in decoding.samples if (prompt.task_id, sample) not in done]
        if rows and len(rows) + len(wanted) > decoding.batch_size:
            yield rows
            rows = []
        while len(wanted) > decoding.batch_size:
            yield wanted[: decoding.batch_size]
            wanted = wanted[decoding.batch_size :]
        rows += wanted
    if rows:
        yield rows


def _drafts(model: Any, rows: Sequence[Row], decoding: Decoding) -> Drafts | None:
    """What proposes tokens of a batch; None where nothing does.

    Raises:
        EvaluationError: rejected proposals could not be taken back.
    """
    if not decoding.num_drafts or num_heads(model) == 1:
        return None
    drafts = drafts_of(model, min(decoding.num_drafts, most_drafts(model)))
    num_slots = max(len(prompt.input_ids) for prompt, _ in rows) + decoding.max_new_tokens * drafts.slots_per_pass
    if not takes_back(growing_cache(model, drafts.num_heads), num_slots):
        raise EvaluationError(
            f"num_drafts={decoding.num_drafts}: proposals that are rejected cannot be taken back from this model's windows "
            "or recurrent states: use 0"
        )
    return drafts


class Rows:
    """Rows of one batch at work: which token comes next in each, and which have ended. `alive_R` are those whose logits are
    given, as places in `rows`.
    """

    def __init__(self, text: TextTokenizer, rows: list[Row], decoding: Decoding, device: torch.device) -> None:
        self.text, self.rows, self.decoding, self.device = text, rows, decoding, device
        self.keys_R = np.array([row_key(decoding.seed, prompt.task_id, sample) for prompt, sample in rows], dtype=np.uint64)
        self.is_greedy_R = np.array([sample == GREEDY or decoding.temperature == 0 for _, sample in rows])
        self.tokens_RT = np.zeros((len(rows), decoding.max_new_tokens), dtype=np.int64)
        self.lengths_R = np.zeros(len(rows), dtype=np.int64)
        self.finished: dict[int, Answer] = {}
        self.num_told = 0
        self.num_forwards = 0
        self.alive_R = np.arange(len(rows))

    def ended(self, on_pass: OnPass | None) -> list[Answer]:
        """What has since the last time; of the rest it is told how far it is."""
        fresh = list(self.finished.values())[self.num_told :]
        self.num_told = len(self.finished)
        if on_pass is not None:
            at_work = [row for row in range(len(self.rows)) if row not in self.finished]
            on_pass(int(self.lengths_R[at_work].sum()) / self.decoding.max_new_tokens)
        return fresh

    def choose(self, logits_RV: torch.Tensor, ahead: int, places: np.ndarray | None = None) -> torch.Tensor:
        """The token `ahead` places after the next one, of all rows of the batch or of those at `places`."""
        alive_R = self.alive_R if places is None else self.alive_R[places]
        chosen_R = logits_RV.argmax(dim=-1)
        if not self.decoding.num_samples:
            return chosen_R
        sampled = np.flatnonzero(~self.is_greedy_R[alive_R])
        if len(sampled):
            rows, keys = torch.from_numpy(sampled).to(self.device), self.keys_R[alive_R[sampled]]
            uniforms_R = torch.from_numpy(uniforms(keys, self.lengths_R[alive_R[sampled]] + ahead)).to(self.device)
            chosen_R[rows] = sample_top_p(logits_RV[rows], uniforms_R, self.decoding.temperature, self.decoding.top_p)
        return chosen_R

    def record(self, chosen_R: torch.Tensor, places: np.ndarray | None = None) -> None:
        """Keep the next token (of the rows at `places`) and see which rows are finished."""
        chosen = chosen_R.cpu().numpy()
        for place in range(len(chosen)) if places is None else places:
            row, token = int(self.alive_R[place]), int(chosen[place])
            if row in self.finished:
                continue
            length = int(self.lengths_R[row])
            self.tokens_RT[row, length] = token
            self.lengths_R[row] = length + 1
            is_last = token in self.decoding.eos_token_ids or length + 1 == self.decoding.max_new_tokens
            if is_last or self._stops(row, length + 1):
                prompt, sample = self.rows[row]
                tokens = self.tokens_RT[row, : length + 1].tolist()
                self.finished[row] = made_answer(self.text, prompt, sample, tokens, self.decoding, self.num_forwards)

    def _stops(self, row: int, length: int) -> bool:
        """Whether a stop string ends in the last token; looks at a tail that is long enough to hold it."""
        if not self.decoding.stop:
            return False
        longest = max(len(string.encode()) for string in self.decoding.stop)
        text = self.text.decode(self.tokens_RT[row, max(0, length - 4 - longest) : length].tolist())
        return any(string in text for string in self.decoding.stop)


class _Batch(Rows):
    """One batch with a cache, in which `alive_R` are still.

    Every forward pass writes S cache slots for every row; `mask_RT` hides padding and rejected proposals.
    """

    def __init__(self, model: nn.Module, text: TextTokenizer, rows: list[Row], decoding: Decoding) -> None:
        super().__init__(text, rows, decoding, next(model.parameters()).device)
        self.model = model
        self.drafts = _drafts(model, rows, decoding)
        self.cache_argument = cache_argument(model)
        self.cache = growing_cache(model, 1 if self.drafts is None else self.drafts.num_heads)

    def run(self, on_pass: OnPass | None) -> Iterator[list[Answer]]:
        """What has ended, after every forward pass in which something did."""
        logits_RV, mask_RT, positions_R = self._prefill()
        has_holes = bool((mask_RT == 0).any())
        next_R = self.choose(logits_RV, ahead=0)
        drafts_RS = self._draft(next_R.unsqueeze(1), next_R, torch.zeros_like(next_R), positions_R)
        self.record(next_R)
        steps = torch.arange(1 + drafts_RS.shape[1], device=self.device)
        yield from self._handed_over(on_pass)
        while len(self.finished) < len(self.rows):
            keep = self._drop_finished()
            if keep is not None:
                mask_RT, positions_R, next_R, drafts_RS = mask_RT[keep], positions_R[keep], next_R[keep], drafts_RS[keep]
            ids_RS = torch.cat([next_R.unsqueeze(1), drafts_RS], dim=1) if len(steps) > 1 else next_R.unsqueeze(1)
            if has_holes or len(steps) > 1:
                mask_RT = torch.nn.functional.pad(mask_RT, (0, len(steps)), value=1)
            logits_RSV = self._forward(ids_RS, mask_RT if has_holes else None, positions_R.unsqueeze(1) + steps)
            next_R, accepted_R = self._verify(logits_RSV, drafts_RS)
            positions_R = positions_R + 1
            if len(steps) > 1:
                positions_R = positions_R + accepted_R
                mask_RT[:, -len(steps) :] = (steps <= accepted_R.unsqueeze(1)).to(mask_RT.dtype)
                has_holes = has_holes or bool((accepted_R < drafts_RS.shape[1]).any())
                drafts_RS = self._draft(ids_RS, next_R, accepted_R, positions_R)
            self.record(next_R)
            yield from self._handed_over(on_pass)

    def _handed_over(self, on_pass: OnPass | None) -> Iterator[list[Answer]]:
        if fresh := self.ended(on_pass):
            yield fresh

    def _drop_finished(self) -> torch.Tensor | None:
        """Once few rows are still at work, let the others go: the places that stay, None where all do."""
        working = np.array([row not in self.finished for row in self.alive_R])
        if working.mean() > _DROP_BELOW:
            return None
        keep = torch.from_numpy(np.flatnonzero(working)).to(self.device)
        select_rows(self.cache, keep)
        if self.drafts is not None:
            self.drafts.keep(keep)
        self.alive_R = self.alive_R[working]
        return keep

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor, logits_to_keep: int = 0
    ) -> torch.Tensor:
        """Head 0's logits; what proposals are made of is kept where they are made."""
        self.num_forwards += 1
        if self.drafts is not None:
            hidden = self.drafts.forward(ids, mask, positions, self.cache)
            return cast(torch.Tensor, cast(Any, self.model).unembedding(hidden[:, -logits_to_keep:]))
        arguments = step_arguments(self.cache_argument, self.cache, ids, mask, positions)
        return cast(torch.Tensor, self.model(**arguments, logits_to_keep=logits_to_keep).logits)

    def _prefill(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run each prompt once, left-padded, then repeat its cache for every row.

        Returns:
            logits of the first new token (R, V), mask (R, T), next positions (R,).
        """
        prompts = list({prompt.task_id: prompt for prompt, _ in self.rows}.values())
        place = {prompt.task_id: i for i, prompt in enumerate(prompts)}
        lengths_B = torch.tensor([len(prompt.input_ids) for prompt in prompts])
        width = max(int(lengths_B.max()), 1 if self.drafts is None else self.drafts.least_width)
        ids_BT = torch.full((len(prompts), width), self.text.pad_token_id)
        for i, prompt in enumerate(prompts):
            ids_BT[i, width - len(prompt.input_ids) :] = torch.tensor(prompt.input_ids)
        mask_BT = (torch.arange(width) >= width - lengths_B.unsqueeze(1)).long().to(self.device)
        positions_BT, ids_BT = (mask_BT.cumsum(1) - 1).clamp(min=0), ids_BT.to(self.device)
        logits_BTV = self._forward(ids_BT, mask_BT, positions_BT, logits_to_keep=1)
        rows = torch.tensor([place[prompt.task_id] for prompt, _ in self.rows], device=self.device)
        select_rows(self.cache, rows)
        if self.drafts is not None:
            self.drafts.start(ids_BT, mask_BT, rows)
        return logits_BTV[rows, -1], mask_BT[rows], lengths_B.to(self.device)[rows]

    def _draft(
        self, ids_RS: torch.Tensor, next_R: torch.Tensor, accepted_R: torch.Tensor, positions_R: torch.Tensor
    ) -> torch.Tensor:
        """What the further heads would choose for the tokens after the next one, (R, num_drafts); see `Drafts`."""
        if self.drafts is None:
            return next_R.new_empty(len(next_R), 0)
        return self.drafts.propose(ids_RS, next_R, accepted_R, positions_R, self.choose)

    def _verify(self, logits_RSV: torch.Tensor, drafts_RS: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Record proposals as long as they are what head 0 chooses.

        Returns:
            the token after the last recorded one (R,), not recorded yet; the number of accepted proposals (R,).
        """
        next_R = self.choose(logits_RSV[:, 0], ahead=0)
        accepted_R = torch.zeros_like(next_R)
        for i in range(drafts_RS.shape[1]):
            agrees_R = (accepted_R == i) & (drafts_RS[:, i] == next_R)
            agrees = np.flatnonzero(agrees_R.cpu().numpy())
            if not len(agrees):
                break
            self.record(next_R, agrees)
            places = torch.from_numpy(agrees).to(self.device)
            next_R[places] = self.choose(logits_RSV[places, i + 1], ahead=0, places=agrees)
            accepted_R += agrees_R
        return next_R, accepted_R
