"""The arms: how each turns a batch into weights. An arm is one function here and a few lines of YAML.

Shapes: B batch, T sequence, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from wmtp.objectives.linear_nll import Guess
from wmtp.objectives.loss import target_scale
from wmtp.objectives.returns import td_errors
from wmtp.objectives.selection import Gather, LikelySelection, hashed_uniform, num_to_keep, rho1_scores, select_top
from wmtp.objectives.shift import expand_weights
from wmtp.objectives.td import TDStatistics, shuffle_response, td_weights
from wmtp.types import IGNORE_INDEX


@dataclass(frozen=True)
class WeightInputs:
    """What a weighting may look at. Tensors of this rank's rows; `gather` joins values over the global batch.

    nll_BTH (detached) and entropy_BTH are there only for weightings in `NEEDS_NLL` and `NEEDS_ENTROPY`.
    """

    labels_BTH: torch.Tensor
    rows_B: torch.Tensor
    slots_B: torch.Tensor
    prompt_lens_B: torch.Tensor
    lengths_B: torch.Tensor
    is_correct_B: torch.Tensor
    seed: int
    step: int
    gather: Gather
    reference_nll_BT: torch.Tensor | None = None
    value_BT: torch.Tensor | None = None
    nll_BTH: torch.Tensor | None = None
    entropy_BTH: torch.Tensor | None = None
    td_statistics: TDStatistics | None = None

    @property
    def valid_BTH(self) -> torch.Tensor:  # noqa: N802
        return self.labels_BTH != IGNORE_INDEX

    @property
    def positions_BT(self) -> torch.Tensor:  # noqa: N802
        """A token's place in the global batch, whatever its rank and padding."""
        return self.slots_B.unsqueeze(1) * (1 << 32) + torch.arange(self.labels_BTH.shape[1], device=self.slots_B.device)

    def expand_target(self, x_BT: torch.Tensor) -> torch.Tensor:
        """A per-token column as seen from each head: entry (b, t, h) is token t+1+h's."""
        return expand_weights(x_BT, self.labels_BTH, "target")


WeightFunction = Callable[[Any, WeightInputs], torch.Tensor | None]
"""(the arm's typed keys, inputs) -> (B, T) or (B, T, H) weights before scaling, or None for ones."""


def _uniform(keys: Any, inputs: WeightInputs) -> None:
    return None


def _select(keys: Any, inputs: WeightInputs, scores_BTH: torch.Tensor) -> torch.Tensor:
    return select_top(scores_BTH, inputs.valid_BTH, inputs.positions_BT, keys.keep_frac, inputs.gather)


def _rho1(keys: Any, inputs: WeightInputs) -> torch.Tensor:
    assert inputs.nll_BTH is not None and inputs.reference_nll_BT is not None
    scores_BTH = rho1_scores(inputs.nll_BTH, inputs.expand_target(inputs.reference_nll_BT), keys.mode)
    kept_BTH = _select(keys, inputs, scores_BTH)
    if _always_keeps_head0(keys):
        kept_BTH[..., 0] = inputs.valid_BTH[..., 0].float()
    return kept_BTH


def _always_keeps_head0(keys: Any) -> bool:
    return bool(getattr(keys, "always_keep_head0", False))


def _rho1_soft(keys: Any, inputs: WeightInputs) -> torch.Tensor:
    """softmax(excess / temperature) over each head's valid targets of the global batch x their count, clipped."""
    assert inputs.nll_BTH is not None and inputs.reference_nll_BT is not None
    logits_BTH = rho1_scores(inputs.nll_BTH, inputs.expand_target(inputs.reference_nll_BT), "signed") / keys.temperature
    weights_BTH = torch.zeros_like(logits_BTH)
    for head in range(logits_BTH.shape[-1]):
        everywhere = inputs.gather(logits_BTH[..., head][inputs.valid_BTH[..., head]])
        if everywhere.numel():
            log_total = torch.logsumexp(everywhere.double(), dim=0)
            share = (logits_BTH[..., head].double() - log_total).exp() * everywhere.numel()
            weights_BTH[..., head] = share.clamp(keys.clip_min, keys.clip_max).to(weights_BTH.dtype)
    return weights_BTH


def _random(keys: Any, inputs: WeightInputs) -> torch.Tensor:
    heads_H = torch.arange(inputs.labels_BTH.shape[-1], device=inputs.labels_BTH.device)
    step = torch.full_like(heads_H, inputs.step)
    scores_BTH = hashed_uniform(inputs.seed, inputs.positions_BT.unsqueeze(-1), heads_H, step)
    return _select(keys, inputs, scores_BTH)


def _entropy(keys: Any, inputs: WeightInputs) -> torch.Tensor:
    assert inputs.entropy_BTH is not None
    return _select(keys, inputs, inputs.entropy_BTH)


def _verifiable(keys: Any, inputs: WeightInputs) -> torch.Tensor:
    assert inputs.value_BT is not None and inputs.td_statistics is not None
    deltas_BT = td_errors(
        inputs.value_BT,
        inputs.is_correct_B,
        inputs.prompt_lens_B,
        inputs.lengths_B,
        gamma=keys.gamma,
        initial_value=keys.initial_value,
    )
    return td_weights(deltas_BT, inputs.td_statistics, beta=keys.beta, clip_min=keys.clip_min, clip_max=keys.clip_max)


def _shuffled(keys: Any, inputs: WeightInputs) -> torch.Tensor:
    return shuffle_response(_verifiable(keys, inputs), inputs.prompt_lens_B, inputs.lengths_B, inputs.rows_B, inputs.seed)


def _hybrid(keys: Any, inputs: WeightInputs) -> torch.Tensor:
    return _rho1(keys, inputs) * inputs.expand_target(_verifiable(keys, inputs))


ARMS: dict[str, WeightFunction] = {
    "uniform": _uniform,
    "rho1": _rho1,
    "rho1_soft": _rho1_soft,
    "random": _random,
    "entropy": _entropy,
    "verifiable": _verifiable,
    "shuffled": _shuffled,
    "hybrid": _hybrid,
}
NEEDS_NLL = ("rho1", "rho1_soft", "hybrid")
NEEDS_ENTROPY = ("entropy",)


def compute_weights(name: str, keys: Any, inputs: WeightInputs, alignment: str) -> torch.Tensor | None:
    """Weights of one batch in the one layout that reaches the loss.

    Args:
        name: a key of `ARMS`; keys: that weighting's typed configuration.
        alignment: of position-level weights, see `expand_weights`.
    Returns:
        weights_BTH >= 0, zero on ignored labels, no gradient; None means ones.
    """
    weights = ARMS[name](keys, inputs)
    return None if weights is None else expand_weights(weights, inputs.labels_BTH, alignment)


def guess_weights(
    name: str, keys: Any, inputs: WeightInputs, counts_H: torch.Tensor, *, reduction: str, normalise: str
) -> Guess | None:
    """What can be told of a batch's gradients while its NLLs are still being computed, see `linear_nll`; None for nothing.

    Args:
        name, keys, inputs: as `compute_weights`, `inputs.nll_BTH` not needed.
        counts_H: valid targets per head of the whole global batch.
        reduction, normalise: of the loss.
    """
    if name != "rho1":
        return None
    assert inputs.reference_nll_BT is not None
    keep_frac_H = [keys.keep_frac] * len(counts_H)
    if _always_keeps_head0(keys):
        keep_frac_H[0] = 1.0
    normaliser = counts_H
    if reduction == "position_mean":
        normaliser = torch.ones(1, device=counts_H.device)
    elif normalise == "mean_one":
        kept_H = [num_to_keep(frac, int(count)) for frac, count in zip(keep_frac_H, counts_H.tolist(), strict=True)]
        normaliser = torch.tensor(kept_H, device=counts_H.device)
    scale_BTH = target_scale(inputs.labels_BTH, reduction=reduction, normalise=normalise, normaliser=normaliser.double())
    return LikelySelection(inputs.expand_target(inputs.reference_nll_BT), scale_BTH.float(), keep_frac_H, keys.mode)
