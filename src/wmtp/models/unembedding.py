"""From normalised hidden states to logits or NLLs: the unembedding, and what a family does to its product.

Shapes: B batch, T sequence, H heads, D width, V vocabulary, N rows, W window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from wmtp.objectives.capped_nll import capped_nll, soft_cap
from wmtp.objectives.linear_nll import ScaleGuess, linear_nll
from wmtp.objectives.shift import heads_first
from wmtp.objectives.token_order import OrderTargets

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class LogitRule:
    """What becomes of the unembedding's product. `divisor` first, then `factor`, then `cap * tanh(logits / cap)`."""

    divisor: float = 1.0
    factor: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, config: PreTrainedConfig) -> LogitRule:
        """As a configuration has it: Granite and Inkling divide, Cohere and Falcon-H1 multiply, Gemma caps.

        A family with a rule of another name is found out by the proof at load.
        """
        factor = float(getattr(config, "logit_scale", None) or 1.0) * float(getattr(config, "lm_head_multiplier", None) or 1.0)
        divisor = float(getattr(config, "logits_scaling", None) or getattr(config, "logits_mup_width_multiplier", None) or 1.0)
        cap = getattr(config, "final_logit_softcapping", None)
        return cls(divisor, factor, float(cap) if cap else None)

    def scaled(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, or hidden states before a product without bias, which comes to the same."""
        x = x / self.divisor if self.divisor != 1.0 else x
        return x * self.factor if self.factor != 1.0 else x

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        scaled = self.scaled(logits)
        return scaled if self.cap is None else soft_cap(scaled, self.cap)


def _entropy(logits_NV: torch.Tensor) -> torch.Tensor:
    """Of each row's softmax, nats. NaN where the logits are: a broken step is the loop's to end, on every rank at once."""
    return torch.distributions.Categorical(logits=logits_NV, validate_args=False).entropy()


FORWARD_METHODS = ("nll", "entropy")
"""What an `Unembedding` is asked beside its `forward`: where it is sharded, its matrix is gathered for them, too."""


class Unembedding(nn.Module):
    """Owns the unembedding and its NLL, so that its weight is gathered where FSDP expects it."""

    def __init__(self, lm_head: nn.Linear, rule: LogitRule) -> None:
        super().__init__()
        self.lm_head = lm_head
        self.rule = rule

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        """Logits of normalised hidden states, as the family's own model makes them."""
        logits: torch.Tensor = self.rule(self.lm_head(hidden_BTD))
        return logits

    def nll(
        self,
        hidden_HBTD: Sequence[torch.Tensor],
        labels_BTH: torch.Tensor,
        scale_BTH: torch.Tensor | None = None,
        guess: ScaleGuess | None = None,
        *,
        frozen: bool = False,
    ) -> torch.Tensor:
        """NLL of every head's targets, (B, T, H), float32, 0 where ignored.

        One call for all heads: the weights are gathered once and one weight gradient accumulates.

        Args:
            hidden_HBTD: each head's normalised output.
            scale_BTH: the gradient of the loss with respect to the result where it is known ahead, see `linear_nll`.
            guess: what can be told of it on the way, see `linear_nll`; rows are in `heads_first` order.
                Neither changes the result, and a capped NLL makes no use of them.
            frozen: no gradient is made for the unembedding, which is the largest matrix and a third of this work.
        """
        weight_VD = self.lm_head.weight.detach() if frozen else self.lm_head.weight
        rows_ND = self.rule.scaled(torch.cat([hidden_BTD.flatten(0, 1) for hidden_BTD in hidden_HBTD]))
        labels_N = heads_first(labels_BTH)
        if self.rule.cap is None:
            scale_N = None if scale_BTH is None else heads_first(scale_BTH)
            nll_N = linear_nll(rows_ND, weight_VD, labels_N, scale_N=scale_N, guess=guess)
        else:
            nll_N = capped_nll(rows_ND, weight_VD, labels_N, self.rule.cap)
        return torch.stack(nll_N.view(-1, *labels_BTH.shape[:2]).unbind(), dim=-1)

    @torch.no_grad()
    def entropy(self, hidden_BTD: torch.Tensor, rows: int = 1024) -> torch.Tensor:
        """Predictive entropy in nats at every position, float32."""
        parts = [_entropy(self(part).float()) for part in hidden_BTD.flatten(0, 1).split(rows)]
        return torch.cat(parts).view(hidden_BTD.shape[:2])


class TokenOrder(nn.Module):
    """One more unembedding, which ranks the vocabulary by how soon each token comes. It reads what the other reads of head 0.

    Args:
        like: the unembedding, of which this one is a copy at first: of what is coming, the next token has the largest share.
        rule: of the family's logits; a cap is left out.
    Source: Zuhri et al. 2025, arXiv 2508.19228.
    """

    def __init__(self, like: nn.Linear, rule: LogitRule) -> None:
        super().__init__()
        self.rule = rule
        self.lm_head = nn.Linear(like.in_features, like.out_features, bias=False, device="meta")
        self.lm_head.weight = nn.Parameter(like.weight.detach().clone())

    def forward(self, hidden_BTD: torch.Tensor, targets: OrderTargets) -> torch.Tensor:
        """Cross-entropy of each position's ranking with its target, (B, T), float32, 0 where nothing is ranked."""
        nll_N = linear_nll(
            self.rule.scaled(hidden_BTD.flatten(0, 1)),
            self.lm_head.weight,
            targets.labels_BT.flatten(),
            scale_N=None if targets.scale_BT is None else targets.scale_BT.flatten(),
            mixture=(targets.tokens_BTW.flatten(0, 1), targets.shares_BTW.flatten(0, 1)),
        )
        return torch.stack(nll_N.view(targets.labels_BT.shape).unbind())  # FSDP wants no view
