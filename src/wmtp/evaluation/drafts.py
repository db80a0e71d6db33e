"""What further heads propose: tokens after the next one, for one forward pass of head 0 to check.

Nothing here decides a completion: a proposal that is wrong costs time alone.

Shapes: R rows, B prompts, T positions, S tokens of one forward pass (the next one and the proposals), D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import nn
from transformers.cache_utils import DynamicCache

from wmtp.errors import ConfigError
from wmtp.evaluation.kv_cache import growing_cache, select_rows
from wmtp.models.mtp import MTPForCausalLM

Choose = Callable[[torch.Tensor, int], torch.Tensor]
"""(logits (R, V), how many places after the next token) -> tokens (R,), as head 0's would be chosen from."""


class Drafts(Protocol):
    """Of one batch. `start` is called once, after a `forward` of the prompts; then `propose` after every choice of a token.

    num_heads: that a cache of the verifying passes has to hold. least_width: of the prompts' pass, in columns.
    slots_per_pass: of whichever cache fills fastest.
    """

    num_heads: int
    least_width: int
    slots_per_pass: int

    def forward(
        self,
        ids_RS: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor,
        past_key_values: DynamicCache,
    ) -> torch.Tensor:
        """What head 0 hands to the unembedding, (R, S, D); what proposals are made of is kept."""
        ...

    def start(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, rows_R: torch.Tensor) -> None:
        """After the prompts' pass (left-padded): which prompt each row continues."""
        ...

    def propose(
        self, ids_RS: torch.Tensor, next_R: torch.Tensor, accepted_R: torch.Tensor, place_R: torch.Tensor, choose: Choose
    ) -> torch.Tensor:
        """Tokens after the next one, (R, num_drafts).

        Args:
            ids_RS: what the last pass read, of which the first 1 + `accepted_R` tokens stay; next_R: what follows them.
            place_R: the position of the next token.
        """
        ...

    def keep(self, rows: torch.Tensor) -> None:
        """Let go of all other rows."""
        ...


def most_drafts(model: MTPForCausalLM) -> int:
    """How many tokens a model's heads can propose in a row, see `SiblingDrafts` for heads with a stride."""
    return (model.config.n_future - 1) * model.config.head_stride


def require_drafts(model: nn.Module, num_drafts: int) -> None:
    """For who names one model: the stage of several arms takes of each what it can.

    Raises:
        ConfigError: more proposals than the model's heads can make.
    """
    most = most_drafts(model) if isinstance(model, MTPForCausalLM) else 0
    if num_drafts > most:
        raise ConfigError(f"num_drafts={num_drafts} is more than this model's further heads can propose: {most}")


def drafts_of(model: MTPForCausalLM, num_drafts: int) -> Drafts:
    """What proposes `num_drafts` tokens, of the model's variant of heads."""
    return (ChainDrafts if model.config.layout.is_chain else SiblingDrafts)(model, num_drafts)


class SiblingDrafts:
    """Heads beside the last layer, which run in the pass that verifies.

    With a stride of s, head h at position t predicts token t + 1 + h s. The tokens between are what the same head predicted a
    few positions before: token t + 1 + i is head `ceil(i / s)`'s, made at the newest position from which it looks there, so
    H - 1 heads propose (H - 1) s tokens in a row. Source: L-MTP, arXiv 2505.17505, whose decoding looks backward like this.
    """

    def __init__(self, model: MTPForCausalLM, num_drafts: int) -> None:
        self.model, self.num_drafts, self.stride = model, num_drafts, model.config.head_stride
        self.num_heads, self.least_width, self.slots_per_pass = 1 + -(-num_drafts // self.stride), 1, 1 + num_drafts
        self._made: list[torch.Tensor] = []
        self._recent: list[torch.Tensor] = []
        """Of each further head: what it made at the last S positions, and at the `stride` positions that were kept last."""

    def forward(
        self,
        ids_RS: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor,
        past_key_values: DynamicCache,
    ) -> torch.Tensor:
        first_RSD, *self._made = self.model.head_hidden(
            ids_RS, attention_mask, position_ids, past_key_values, num_heads=self.num_heads
        )
        return first_RSD

    def start(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, rows_R: torch.Tensor) -> None:
        padded = [torch.nn.functional.pad(made_BTD, (0, 0, self.stride, 0)) for made_BTD in self._made]
        self._recent = [padded_BTD[rows_R, -1 - self.stride : -1] for padded_BTD in padded]
        self._made = [padded_BTD[rows_R, -1:] for padded_BTD in padded]

    def propose(
        self, ids_RS: torch.Tensor, next_R: torch.Tensor, accepted_R: torch.Tensor, place_R: torch.Tensor, choose: Choose
    ) -> torch.Tensor:
        rows = torch.arange(len(next_R), device=next_R.device).unsqueeze(1)
        last = accepted_R.unsqueeze(1) + 1 + torch.arange(self.stride, device=next_R.device)
        both = zip(self._recent, self._made, strict=True)
        self._recent = [torch.cat(parts, dim=1)[rows, last] for parts in both]
        drafts = []
        for i in range(1, self.num_drafts + 1):
            head = -(-i // self.stride)
            hidden_RD = self._recent[head - 1][:, -1 - (head * self.stride - i)]
            drafts.append(choose(self.model.unembedding(hidden_RD), i))
        return torch.stack(drafts, dim=1)

    def keep(self, rows: torch.Tensor) -> None:
        self._recent = [recent[rows] for recent in self._recent]


class ChainDrafts:
    """Heads in a chain behind the last layer, one by one: each is told what the one before proposed.

    Head k at position p reads the token at p + k. So of the positions up to the last one, T, its last k - 1 are told proposals:
    their keys and values are hidden again, and made anew in the next round with the tokens that came. Everything before is
    told what stays. A round's columns stand flush right: the last one is position T in every row.
    Source: DeepSeek-V3, arXiv 2412.19437, section 2.2.
    """

    def __init__(self, model: MTPForCausalLM, num_drafts: int) -> None:
        self.model, self.num_drafts = model, num_drafts
        self.num_heads, self.least_width, self.slots_per_pass = 1, 1 + num_drafts, 2 * num_drafts
        self._caches = [growing_cache(model, model.config.n_future) for _ in range(num_drafts)]
        self._masks: list[torch.Tensor] = []
        self._before: list[torch.Tensor] = []
        """Of each head: its slots' mask (R, slots), and what it handed on, (R, D), at the newest position at which its own
        token ahead stays and the next head's does not yet."""
        self._read = torch.empty(0)

    def forward(
        self,
        ids_RS: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor,
        past_key_values: DynamicCache,
    ) -> torch.Tensor:
        first_RSD, self._read = self.model.chain_start(ids_RS, attention_mask, position_ids, past_key_values)
        return first_RSD

    def start(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, rows_R: torch.Tensor) -> None:
        place_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
        handed_BTD = self._read
        for k, cache in enumerate(self._caches, start=1):
            told = slice(0, ids_BT.shape[1] - k)
            hidden_BTD = handed_BTD[:, told]
            handed_BTD, _ = self.model.chained(
                k, hidden_BTD, ids_BT[:, k:], mask_BT[:, told], place_BT[:, told], past_key_values=cache
            )
            select_rows(cache, rows_R)
            self._masks.append(mask_BT[rows_R, told])
            self._before.append(handed_BTD[rows_R, -1])
        self._read = self._read[rows_R, -1:]

    def propose(
        self, ids_RS: torch.Tensor, next_R: torch.Tensor, accepted_R: torch.Tensor, place_R: torch.Tensor, choose: Choose
    ) -> torch.Tensor:
        num_new, device = self._read.shape[1], next_R.device
        rows, last = torch.arange(len(next_R), device=device).unsqueeze(1), num_new - 1 - accepted_R
        source = (torch.arange(num_new, device=device) - last.unsqueeze(1)).clamp(min=0)
        ahead = torch.cat([ids_RS[:, 1:], next_R.unsqueeze(1)], dim=1)[rows, source]
        ahead[:, -1] = next_R
        hidden, drafts = self._read[rows, source], list[torch.Tensor]()
        for k in range(1, self.num_drafts + 1):
            before_RD = self._before[k - 1]
            handed, normed_RD = self._run(k, hidden, ahead, last, place_R)
            drafts.append(choose(self.model.unembedding(normed_RD), k))
            hidden = torch.nn.functional.pad(handed, (0, 0, 1, 0))
            hidden[rows.squeeze(1), last] = before_RD
            ahead = torch.cat([ahead, drafts[-1].unsqueeze(1)], dim=1)
        return torch.stack(drafts, dim=1)

    def _run(
        self, k: int, hidden_RSD: torch.Tensor, ahead_RS: torch.Tensor, last_R: torch.Tensor, place_R: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A head's round: what it hands on, and what of its last column goes to the unembedding."""
        column = torch.arange(ahead_RS.shape[1], device=ahead_RS.device)
        place_RS = place_R.unsqueeze(1) - ahead_RS.shape[1] + column
        is_there_RS = (column >= last_R.unsqueeze(1)) & (place_RS >= 0)
        mask = torch.cat([self._masks[k - 1], is_there_RS.to(self._masks[k - 1].dtype)], dim=1)
        handed_RSD, normed_RSD = self.model.chained(
            k, hidden_RSD, ahead_RS, mask, place_RS.clamp(min=0), past_key_values=self._caches[k - 1]
        )
        if k > 1:
            mask[:, 1 - k :] = 0
        self._masks[k - 1] = mask
        self._before[k - 1] = handed_RSD[:, -k]
        return handed_RSD, normed_RSD[:, -1]

    def keep(self, rows: torch.Tensor) -> None:
        for cache in self._caches:
            select_rows(cache, rows)
        self._masks = [mask[rows] for mask in self._masks]
        self._before = [before[rows] for before in self._before]
