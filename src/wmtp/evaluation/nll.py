"""Held-out NLL and token accuracy of every prediction head, on response tokens.

Shapes: B batch, T sequence, H heads, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from wmtp.errors import EvaluationError
from wmtp.objectives import shift_labels
from wmtp.tokens.data import TokenData, sequential_batches
from wmtp.types import IGNORE_INDEX

LOGIT_BYTES, LEAST_TOKENS = 2**26, 256
"""Room for one batch's logits of all heads, and how many tokens it has at least."""


@dataclass(frozen=True)
class HeadScores:
    """Per head: mean NLL in nats per token, share of tokens predicted exactly, and the number of tokens."""

    nll: tuple[float, ...]
    accuracy: tuple[float, ...]
    num_tokens: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """As metrics.json has them; perplexity is head 0's."""
        return {
            "nll": {f"head{h}": value for h, value in enumerate(self.nll)},
            "token_accuracy": {f"head{h}": value for h, value in enumerate(self.accuracy)},
            "nll_tokens": {f"head{h}": value for h, value in enumerate(self.num_tokens)},
            "perplexity": math.exp(self.nll[0]),
        }


def num_heads(model: Any) -> int:
    """1 for any causal language model that knows nothing of heads."""
    return int(getattr(model.config, "n_future", 1)) if hasattr(model, "head_logits") else 1


class ByDocument:
    """Head 0's NLL and tokens of every document of packed rows. D documents.

    Attributes:
        places: where each stands, (D,); sums_2D: this rank's part of the NLL and of the tokens, float64.
    """

    def __init__(self, data: TokenData, device: torch.device) -> None:
        assert data.segments is not None, "rows are not packed"
        _, firsts, of_segment = np.unique(data.segments.documents, return_index=True, return_inverse=True)
        places = data.arrow["segment_places"].combine_chunks().values
        self.places: list[str] = places.take(pa.array(firsts)).to_pylist()
        self.sums_2D = torch.zeros(2, len(firsts), dtype=torch.float64, device=device)
        self._of_segment = torch.from_numpy(of_segment).to(device)

    def add(self, segments_N: torch.Tensor, nll_N: torch.Tensor) -> None:
        """Targets: which piece each is of, and its NLL."""
        documents_N = self._of_segment[segments_N]
        self.sums_2D[0].index_add_(0, documents_N, nll_N)
        self.sums_2D[1].index_add_(0, documents_N, torch.ones_like(nll_N))


@torch.inference_mode()
def head_sums(
    model: Any, data: TokenData, *, rank: int = 0, world_size: int = 1, by_document: ByDocument | None = None
) -> torch.Tensor:
    """This rank's part of the sums over a table: NLL, hits and tokens per head, (3, H) float64 on the model's device.

    Args:
        by_document: is filled, of packed rows.
    """
    heads, device = num_heads(model), next(model.parameters()).device
    sums = torch.zeros(3, heads, dtype=torch.float64, device=device)
    vocab_size: int = model.config.vocab_size
    batch_tokens = max(LEAST_TOKENS, LOGIT_BYTES // (4 * vocab_size * heads))
    for batch in sequential_batches(data, batch_tokens=batch_tokens, rank=rank, world_size=world_size):
        batch = batch.to(device)
        stride = getattr(model.config, "head_stride", 1)
        labels_BTH = shift_labels(batch.labels_BT, heads, batch.segment_ids_BT, stride=stride)
        has_heads = hasattr(model, "head_logits")
        all_logits = model.head_logits(**batch.inputs) if has_heads else (model(**batch.inputs).logits,)
        for h, logits_BTV in enumerate(all_logits):
            valid = labels_BTH[..., h] != IGNORE_INDEX
            logits_NV, labels_N = logits_BTV[valid].float(), labels_BTH[..., h][valid]
            nll_N = torch.nn.functional.cross_entropy(logits_NV, labels_N, reduction="none").double()
            if by_document is not None and h == 0:
                assert batch.segment_ids_BT is not None
                by_document.add(batch.segment_ids_BT[valid], nll_N)
            sums[0, h] += nll_N.sum()
            sums[1, h] += (logits_NV.argmax(dim=-1) == labels_N).sum()
            sums[2, h] += len(labels_N)
    return sums


def head_scores(sums_3H: torch.Tensor) -> HeadScores:
    """From the sums over all ranks.

    Raises:
        EvaluationError: a head without any target, or an NLL that is not finite.
    """
    nll, hits, tokens = sums_3H.tolist()
    if min(tokens) == 0:
        raise EvaluationError(f"the validation table has no target for head {tokens.index(0)}: its examples are too short")
    means = tuple(a / n for a, n in zip(nll, tokens, strict=True))
    if not all(map(math.isfinite, means)):
        raise EvaluationError(f"held-out NLL is not finite: {means}")
    accuracy = tuple(a / n for a, n in zip(hits, tokens, strict=True))
    return HeadScores(means, accuracy, tuple(int(n) for n in tokens))
