"""The step functions: a language model (reference and policy) and a critic.

Shapes: B batch, T sequence, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from wmtp.config import ArmConfig, weighting
from wmtp.config.schema import CriticConfig
from wmtp.config.weightings import Uniform
from wmtp.distributed import World
from wmtp.objectives import (
    WeightInputs,
    compute_weights,
    guess_weights,
    lambda_returns,
    local_normaliser,
    scaled_loss,
    shift_labels,
    target_scale,
)
from wmtp.objectives.linear_nll import Guess
from wmtp.objectives.td import TDStatistics
from wmtp.objectives.weighting import NEEDS_ENTROPY, NEEDS_NLL
from wmtp.tokens.data import Batch
from wmtp.training.meters import StepMetrics
from wmtp.types import IGNORE_INDEX

UNIFORM_ARM = ArmConfig(weighting={"name": "uniform"})
"""What the reference is tuned with."""


@dataclass
class _Weighted:
    """A global batch's share of this rank, weighted: everything that the backward passes need."""

    labels_BTH: torch.Tensor
    weights_BTH: torch.Tensor | None
    normaliser: torch.Tensor
    counts_H: torch.Tensor


class LanguageModelStep:
    """Weighted multi-token prediction. Arms differ in `arm.weighting` alone.

    A weighting that looks at the policy's own loss sees the whole global batch: with one micro-batch it uses the
    training forward's NLL, with several a first pass without gradient. Whenever the weights are known before the training
    forward, or can be guessed during it, it is told and makes the unembedding's gradients on the way (see `linear_nll`).
    """

    def __init__(
        self,
        world: World,
        model: nn.Module,
        arm: ArmConfig,
        n_future: int,
        *,
        seed: int = 0,
        td_statistics: TDStatistics | None = None,
    ) -> None:
        self.world, self.model, self.arm, self.n_future, self.seed = world, model, arm, n_future, seed
        self.td_statistics = td_statistics
        self.name: str = arm.weighting["name"]
        self.keys: Any = weighting(arm) if self.name != "uniform" else Uniform()
        self.needs_entropy = self.name in NEEDS_ENTROPY
        self.needs_forward = self.name in NEEDS_NLL or self.needs_entropy

    def __call__(self, batches: Sequence[Batch], step: int) -> StepMetrics:
        batches = [batch.to(self.world.device) for batch in batches]
        joined = batches[0] if len(batches) == 1 else join_batches(batches)
        inputs = self._inputs(joined, step)
        counts_H = self._count(inputs)
        alone: torch.Tensor | None = None
        if self.needs_forward and len(batches) == 1:
            guess = guess_weights(
                self.name, self.keys, inputs, counts_H, reduction=self.arm.reduction, normalise=self.arm.normalise
            )
            alone, entropy_BTH = self._forward(joined, inputs.labels_BTH, guess=guess)
            inputs = replace(inputs, nll_BTH=alone.detach(), entropy_BTH=entropy_BTH)
        elif self.needs_forward:
            inputs = self._first_pass(batches, inputs)
        weighted = self._weigh(inputs, counts_H)
        metrics = _weight_metrics(weighted, joined)
        done = 0
        for batch in batches:
            rows, width = batch.input_ids.shape
            part = slice(done, done + rows)
            labels, weights = weighted.labels_BTH[part, :width], weighted.weights_BTH
            weights = None if weights is None else weights[part, :width]
            scale_BTH = target_scale(
                labels,
                weights,
                reduction=self.arm.reduction,
                normalise=self.arm.normalise,
                normaliser=weighted.normaliser,
            )
            known = None if inputs.nll_BTH is None else inputs.nll_BTH[part, :width]
            nll_BTH = alone if alone is not None else self._learn(batch, labels, scale_BTH, known)
            output = scaled_loss(nll_BTH, labels, scale_BTH)
            (output.loss * self.world.size).backward()
            _add(metrics, "train/loss", output.loss, torch.tensor(1.0 / (self.world.size * len(batches))))
            for h in range(self.n_future):
                _add(metrics, f"train/nll_head{h}", output.nll_sum_H[h], output.count_H[h])
            done += rows
        return metrics

    @torch.no_grad()
    def weights(self, batch: Batch, step: int) -> torch.Tensor:
        """The scaled weights that this batch would get now, (B, T, H): for reports. All ranks call it."""
        batch = batch.to(self.world.device)
        inputs = self._inputs(batch, step)
        nll_BTH, entropy_BTH = self._forward(batch, inputs.labels_BTH)
        return _scaled(self._weigh(replace(inputs, nll_BTH=nll_BTH, entropy_BTH=entropy_BTH), self._count(inputs)))

    def _forward(
        self, batch: Batch, labels_BTH: torch.Tensor, guess: Guess | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the weights are made from."""
        output = self.model(input_ids=batch.input_ids, labels_BTH=labels_BTH, guess=guess, return_entropy=self.needs_entropy)
        return output.nll_BTH, output.entropy_BTH

    def _learn(
        self, batch: Batch, labels_BTH: torch.Tensor, scale_BTH: torch.Tensor, known_BTH: torch.Tensor | None
    ) -> torch.Tensor:
        """A training forward with known weights; a target without weight whose NLL is known already is left out of it."""
        if known_BTH is not None:
            labels_BTH = labels_BTH.masked_fill(scale_BTH == 0, IGNORE_INDEX)
        output = self.model(input_ids=batch.input_ids, labels_BTH=labels_BTH, scale_BTH=scale_BTH.float() * self.world.size)
        nll_BTH: torch.Tensor = output.nll_BTH
        return nll_BTH if known_BTH is None else torch.where(scale_BTH == 0, known_BTH, nll_BTH)

    @torch.no_grad()
    def _first_pass(self, batches: Sequence[Batch], inputs: WeightInputs) -> WeightInputs:
        done, width = 0, inputs.labels_BTH.shape[1]
        nlls, entropies = [], []
        for batch in batches:
            rows, length = batch.input_ids.shape
            nll, entropy = self._forward(batch, inputs.labels_BTH[done : done + rows, :length])
            nlls.append(_pad(nll, width))
            if entropy is not None:
                entropies.append(_pad(entropy, width))
            done += rows
        return replace(inputs, nll_BTH=torch.cat(nlls), entropy_BTH=torch.cat(entropies) if entropies else None)

    def _inputs(self, batch: Batch, step: int) -> WeightInputs:
        return WeightInputs(
            labels_BTH=shift_labels(batch.labels_BT, self.n_future),
            rows_B=batch.rows_B,
            slots_B=batch.slots_B,
            prompt_lens_B=batch.prompt_lens_B,
            lengths_B=batch.lengths_B,
            is_correct_B=batch.is_correct_B,
            seed=self.seed,
            step=step,
            gather=self.world.all_gather,
            reference_nll_BT=batch.columns.get("reference_nll"),
            value_BT=batch.columns.get("value"),
            td_statistics=self.td_statistics,
        )

    def _count(self, inputs: WeightInputs) -> torch.Tensor:
        """Valid targets of each head in the global batch, float64 (H,)."""
        return self.world.all_reduce(inputs.valid_BTH.sum(dim=(0, 1)).double())

    def _weigh(self, inputs: WeightInputs, counts_H: torch.Tensor) -> _Weighted:
        weights_BTH = compute_weights(self.name, self.keys, inputs, self.arm.alignment)
        local = local_normaliser(inputs.labels_BTH, weights_BTH, reduction=self.arm.reduction, normalise=self.arm.normalise)
        return _Weighted(inputs.labels_BTH, weights_BTH, self.world.all_reduce(local), counts_H)


def _breaks_invariants(weighted: _Weighted) -> torch.Tensor:
    """Whether weights are negative, NaN, Inf (both show in the normaliser) or all zero; a boolean on the device."""
    normaliser, weights_BTH = weighted.normaliser, weighted.weights_BTH
    broken = ~torch.isfinite(normaliser).all() | (normaliser.sum() <= 0) & (weighted.counts_H.sum() > 0)
    return broken if weights_BTH is None else broken | (weights_BTH < 0).any()


def _scaled(weighted: _Weighted) -> torch.Tensor:
    """Weights as the loss sees them: mean one over each head's valid targets under `mean_one`."""
    valid_BTH = weighted.labels_BTH != IGNORE_INDEX
    if weighted.weights_BTH is None:
        return valid_BTH.float()
    counts = weighted.counts_H if weighted.normaliser.numel() == weighted.counts_H.numel() else weighted.counts_H.max()
    return weighted.weights_BTH * (counts / weighted.normaliser.clamp(min=1e-12)).float()


def _weight_metrics(weighted: _Weighted, batch: Batch) -> StepMetrics:
    metrics = StepMetrics()
    valid_BTH = weighted.labels_BTH != IGNORE_INDEX
    count = valid_BTH.sum().double()
    _add(metrics, "data/valid_token_ratio", batch.lengths_B.sum(), torch.tensor(batch.input_ids.numel()))
    _add(metrics, "data/correct_frac", batch.is_correct_B.sum(), torch.tensor(len(batch.is_correct_B)))
    weights_BTH = _scaled(weighted).double()
    total = weights_BTH.sum()
    log_count = weighted.counts_H.sum().clamp(min=2).log()
    _add(metrics, "weight/mean", total, count)
    _add(metrics, "weight/second_moment", weights_BTH.square().sum(), count)
    _add(metrics, "weight/entropy", total - torch.xlogy(weights_BTH, weights_BTH).sum() / log_count, total)
    kept_BTH = weights_BTH > 0
    for h in range(weights_BTH.shape[-1]):
        _add(metrics, f"weight/selected_head{h}", kept_BTH[..., h].sum(), valid_BTH[..., h].sum())
    metrics.broken["weights are negative, NaN, Inf or all zero"] = _breaks_invariants(weighted)
    metrics.maxima["weight/max"] = weights_BTH.max()
    metrics.maxima["weight/negative_min"] = -weights_BTH.masked_fill(~valid_BTH, torch.inf).min()
    return metrics


class CriticStep:
    """Regress the value of every state after the prompt on its lambda-return."""

    def __init__(self, world: World, model: nn.Module, config: CriticConfig) -> None:
        self.world, self.model, self.config = world, model, config

    def lam(self, step: int) -> float:
        """1.0 held for `lambda_hold_steps`, then linear to `lambda_final` over `lambda_ramp_steps`."""
        done = (step - self.config.lambda_hold_steps) / max(1, self.config.lambda_ramp_steps)
        return 1.0 - (1.0 - self.config.lambda_final) * min(1.0, max(0.0, done))

    def __call__(self, batches: Sequence[Batch], step: int) -> StepMetrics:
        metrics = StepMetrics()
        batches = [batch.to(self.world.device) for batch in batches]
        local = sum(
            ((batch.lengths_B - batch.prompt_lens_B + 1).sum() for batch in batches),
            start=torch.tensor(0, device=self.world.device),
        )
        num_states = self.world.all_reduce(local.double())
        for batch in batches:
            logits_BT = self.model(batch.input_ids, batch.columns.get("reference_nll"))
            values_BT = torch.sigmoid(logits_BT)
            targets_BT, mask_BT = lambda_returns(
                values_BT, batch.is_correct_B, batch.prompt_lens_B, batch.lengths_B, gamma=self.config.gamma, lam=self.lam(step)
            )
            losses_BT = self._loss(logits_BT, values_BT, targets_BT.to(values_BT.dtype))
            loss = (losses_BT * mask_BT).sum() / num_states.to(losses_BT.dtype)
            (loss * self.world.size).backward()
            _add(metrics, "train/loss", loss, torch.tensor(1.0 / (self.world.size * len(batches))))
            _add(metrics, "data/valid_token_ratio", batch.lengths_B.sum(), torch.tensor(batch.input_ids.numel()))
            _add(metrics, "data/correct_frac", batch.is_correct_B.sum(), torch.tensor(len(batch.is_correct_B)))
            _add(metrics, "train/value_mean", (values_BT * mask_BT).sum(), mask_BT.sum())
        return metrics

    def _loss(self, logits_BT: torch.Tensor, values_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        if self.config.loss == "bce":
            return torch.nn.functional.binary_cross_entropy_with_logits(logits_BT, targets_BT.clamp(0, 1), reduction="none")
        if self.config.loss == "huber":
            return torch.nn.functional.smooth_l1_loss(values_BT, targets_BT, beta=0.5, reduction="none")
        return (values_BT - targets_BT).square()


def _add(metrics: StepMetrics, name: str, numerator: torch.Tensor, denominator: torch.Tensor) -> None:
    numerator, denominator = numerator.detach().double(), denominator.detach().double().to(numerator.device)
    before = metrics.ratios.get(name)
    metrics.ratios[name] = (numerator, denominator) if before is None else (before[0] + numerator, before[1] + denominator)


def _pad(x: torch.Tensor, width: int, value: float = 0) -> torch.Tensor:
    """Pad dimension 1 on the right to `width`."""
    trailing = [0, 0] * (x.ndim - 2)
    return torch.nn.functional.pad(x, [*trailing, 0, width - x.shape[1]], value=value)


def join_batches(batches: Sequence[Batch]) -> Batch:
    """Micro-batches as one batch, padded to the longest (`input_ids` too: padding is never a target)."""
    width = max(batch.input_ids.shape[1] for batch in batches)
    names = ("prompt_lens_B", "lengths_B", "is_correct_B", "rows_B", "slots_B")
    return replace(
        batches[0],
        input_ids=torch.cat([_pad(batch.input_ids, width) for batch in batches]),
        labels_BT=torch.cat([_pad(batch.labels_BT, width, IGNORE_INDEX) for batch in batches]),
        columns={name: torch.cat([_pad(batch.columns[name], width) for batch in batches]) for name in batches[0].columns},
        **{name: torch.cat([getattr(batch, name) for batch in batches]) for name in names},
    )
