"""The step function of a language model: weighted multi-token prediction, for the policy and (unweighted) the reference.

Shapes: B batch, T sequence, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from wmtp.config import ArmConfig
from wmtp.config.training import HeadsConfig, at_step
from wmtp.distributed import World
from wmtp.errors import NumericsError
from wmtp.objectives import scaled_loss, shift_labels
from wmtp.objectives.linear_nll import ScaleGuess
from wmtp.objectives.token_order import OrderTargets, order_targets
from wmtp.tokens.data import Batch, join_batches, pad_width
from wmtp.training.meters import StepMetrics, add_batch_ratios, add_ratio
from wmtp.training.weighing import Weighted, weigh, weight_metrics
from wmtp.types import IGNORE_INDEX
from wmtp.weightings.base import LossShape, WeightInputs, target_weights
from wmtp.weightings.uniform import Uniform

UNIFORM_ARM = ArmConfig(weighting=Uniform())
"""What the reference is tuned with."""


@dataclass(frozen=True)
class _Forward:
    """What a micro-batch's forward pass made, with its gradient, and the factors of it in the loss.

    nll_BTH, labels_BTH, scale_BTH: see `scaled_loss`. order_BT, order_scale_BT: the same of token-order prediction, if any.
    """

    labels_BTH: torch.Tensor
    nll_BTH: torch.Tensor
    scale_BTH: torch.Tensor
    order_BT: torch.Tensor | None
    order_scale_BT: torch.Tensor | None

    def backward(self, metrics: StepMetrics, world: World, num_forwards: int) -> None:
        """Leave the gradients, scaled for FSDP's mean over ranks, and note the losses."""
        output = scaled_loss(self.nll_BTH, self.labels_BTH, self.scale_BTH)
        loss = output.loss
        if self.order_BT is not None and self.order_scale_BT is not None:
            loss = loss + (self.order_BT * self.order_scale_BT.to(self.order_BT.dtype)).sum()
            count = (self.labels_BTH[..., 0] != IGNORE_INDEX).sum()
            add_ratio(metrics, "train/token_order", self.order_BT.sum(), count)
        (loss * world.size).backward()
        add_ratio(metrics, "train/loss", loss, 1.0 / (world.size * num_forwards))
        for h in range(self.labels_BTH.shape[-1]):
            add_ratio(metrics, f"train/nll_head{h}", output.nll_sum_H[h], output.count_H[h])


class LanguageModelStep:
    """Weighted multi-token prediction. Arms differ in `arm.weighting` alone.

    Weights are over the whole global batch, and there are three regimes, by when they are known:

    - **known**: the weighting does not look at the policy. Weights first, then every micro-batch's forward, which is told
      the targets' scales and makes the unembedding's gradients on the way (see `linear_nll`).
    - **guessed**: it does, and the global batch is one micro-batch. The training forward's own NLL decides; what can be
      guessed of the scales meanwhile, the forward is told.
    - **two passes**: it does, and there are several micro-batches. A first pass without gradient gives the NLLs; then
      the weights are known, and targets without weight are left out of the second pass.
    """

    def __init__(
        self,
        world: World,
        model: nn.Module,
        arm: ArmConfig,
        n_future: int,
        *,
        num_steps: int,
        seed: int = 0,
        statistics: Any = None,
        stride: int = 1,
        heads: HeadsConfig | None = None,
    ) -> None:
        """
        Args:
            model: returns `nll_BTH` for `labels_BTH`, see `MTPForCausalLM`.
            num_steps: of the whole training; seed: of the run; statistics: what the weighting measured of the dataset.
            stride: of the model's heads; heads: how they are trained.
        """
        self.world, self.model, self.arm, self.n_future = world, model, arm, n_future
        self.num_steps, self.seed, self.statistics, self.stride = num_steps, seed, statistics, stride
        self.heads = heads or HeadsConfig()
        self._frozen: dict[str, bool] = {}
        self.weighting = arm.weighting
        self.needs = self.weighting.needs
        self.loss = LossShape(arm.reduction, arm.normalise)
        self._whose = f"the weights of {self.weighting.name}"

    def __call__(self, batches: Sequence[Batch], step: int) -> StepMetrics:
        batches = [batch.to(self.world.device) for batch in batches]
        self._frozen = {"frozen_trunk": True} if step < self.heads.warmup_steps else {}
        inputs = self._inputs(join_batches(batches), step)
        if not self.needs.policy:
            weighted = self._weigh(inputs)
            forwards = self._known(batches, weighted)
        elif len(batches) == 1:
            nll_BTH, order_BT, inputs = self._guessed(batches[0], inputs)
            weighted = self._weigh(inputs)
            order_scale_BT = self._order_scale(weighted)
            forwards = iter([_Forward(weighted.labels_BTH, nll_BTH, weighted.scale(), order_BT, order_scale_BT)])
        else:
            inputs = self._first_pass(batches, inputs)
            weighted = self._weigh(inputs)
            forwards = self._known(batches, weighted, inputs.nll_BTH)
        metrics = weight_metrics(weighted, self._whose)
        if inputs.nll_BTH is not None:
            finite = torch.isfinite(inputs.nll_BTH).all()
            metrics.broken = {"an NLL that the weights are made from is NaN or Inf": ~finite, **metrics.broken}
        for forward in forwards:
            forward.backward(metrics, self.world, len(batches))
        for batch in batches:
            add_batch_ratios(metrics, batch)
        return metrics

    @torch.no_grad()
    def weights(self, batches: Sequence[Batch], step: int) -> torch.Tensor:
        """The scaled weights that a global batch would get now, (B, T, H): for reports. All ranks call it.

        Raises:
            NumericsError: weights that no training may go on with, see `Weighted.broken`; on every rank.
        """
        batches = [batch.to(self.world.device) for batch in batches]
        inputs = self._inputs(join_batches(batches), step)
        if self.needs.policy:
            inputs = self._first_pass(batches, inputs)
        weighted = self._weigh(inputs)
        for name, flag in weighted.broken(self._whose).items():
            if self.world.all_reduce(flag.double()) > 0:
                raise NumericsError(name)
        return weighted.scaled()

    # ------------------------------------------------------------------------------- the three regimes

    def _known(self, batches: Sequence[Batch], weighted: Weighted, nll_BTH: torch.Tensor | None = None) -> Iterator[_Forward]:
        """Every micro-batch, forward by forward.

        Args:
            nll_BTH: of a first pass; a target without weight then keeps the NLL that it has there.
        """
        all_scales_BTH, all_order_BT = weighted.scale(), self._order_scale(weighted)
        start = 0
        for batch in batches:
            rows, width = batch.input_ids.shape
            part = (slice(start, start + rows), slice(width))
            labels_BTH, scale_BTH = weighted.labels_BTH[part], all_scales_BTH[part]
            learnt_BTH = labels_BTH if nll_BTH is None else labels_BTH.masked_fill(scale_BTH == 0, IGNORE_INDEX)
            order_scale_BT = None if all_order_BT is None else all_order_BT[part]
            output = self.model(
                **batch.inputs,
                labels_BTH=learnt_BTH,
                scale_BTH=scale_BTH.float() * self.world.size,
                **self._frozen,
                **self._order(batch, order_scale_BT),
            )
            new_BTH = output.nll_BTH if nll_BTH is None else torch.where(scale_BTH == 0, nll_BTH[part], output.nll_BTH)
            yield _Forward(labels_BTH, new_BTH, scale_BTH, output.order_BT, order_scale_BT)
            start += rows

    def _guessed(self, batch: Batch, inputs: WeightInputs) -> tuple[torch.Tensor, torch.Tensor | None, WeightInputs]:
        """The NLL and the order loss of the one training forward (with gradients), and the inputs completed by it."""
        guess = None
        if torch.is_grad_enabled():
            counts_H = self.world.all_reduce(inputs.valid_BTH.sum(dim=(0, 1)).double())
            guess = self._by_head(self.weighting.guess(inputs, counts_H, self.loss), inputs)
        output = self._forward(batch, inputs.labels_BTH, guess=guess, **self._order(batch))
        nll_BTH = output.nll_BTH
        return nll_BTH, output.order_BT, replace(inputs, nll_BTH=nll_BTH.detach(), entropy_BTH=output.entropy_BTH)

    @torch.no_grad()
    def _first_pass(self, batches: Sequence[Batch], inputs: WeightInputs) -> WeightInputs:
        """The inputs completed by forwards of all micro-batches."""
        width = inputs.labels_BTH.shape[1]
        all_labels_BTH = inputs.labels_BTH.split([len(batch.rows_B) for batch in batches])
        outputs = [
            self._forward(batch, labels_BTH[:, : batch.input_ids.shape[1]])
            for batch, labels_BTH in zip(batches, all_labels_BTH, strict=True)
        ]
        nll_BTH = torch.cat([pad_width(output.nll_BTH, width) for output in outputs])
        entropies = [pad_width(output.entropy_BTH, width) for output in outputs if output.entropy_BTH is not None]
        return replace(inputs, nll_BTH=nll_BTH, entropy_BTH=torch.cat(entropies) if entropies else None)

    # ------------------------------------------------------------------------------- parts

    def _forward(self, batch: Batch, labels_BTH: torch.Tensor, **options: Any) -> Any:
        """An `MTPOutput` with what weights are made from: NLL and, where it is needed, entropy."""
        return self.model(**batch.inputs, labels_BTH=labels_BTH, return_entropy=self.needs.entropy, **self._frozen, **options)

    def _order(self, batch: Batch, scale_BT: torch.Tensor | None = None) -> dict[str, OrderTargets]:
        """What a training forward is told of the order of what is to come; nothing in an arm without it.

        Args:
            scale_BT: the loss's gradient with respect to what comes back, where it is known.
        """
        if not self.arm.token_order or not torch.is_grad_enabled():
            return {}
        targets = order_targets(batch.labels_BT, self.arm.token_order_window, batch.segment_ids_BT)
        return {"order": targets if scale_BT is None else replace(targets, scale_BT=scale_BT.float() * self.world.size)}

    def _order_scale(self, weighted: Weighted) -> torch.Tensor | None:
        """The factor of every position's order loss, float64 (B, T): it weighs what the position's next token does.

        Normalised as if head 0 were the only one, so its mean over the global batch is the arm's number.
        """
        if not self.arm.token_order:
            return None
        weights_BT1 = None if weighted.weights_BTH is None else weighted.weights_BTH[..., :1]
        next_token = weigh(self.world, weighted.labels_BTH[..., :1], weights_BT1, self.loss)
        return next_token.scale()[..., 0] * self.arm.token_order

    def _inputs(self, batch: Batch, step: int) -> WeightInputs:
        return batch_inputs(
            batch,
            self.n_future,
            stride=self.stride,
            seed=self.seed,
            step=step,
            num_steps=self.num_steps,
            alignment=self.arm.alignment,
            gather=self.world.all_gather,
            statistics=self.statistics,
        )

    def _weigh(self, inputs: WeightInputs) -> Weighted:
        head_weights = at_step(self.heads.loss_weights, inputs.step)
        return weigh(self.world, inputs.labels_BTH, target_weights(self.weighting, inputs), self.loss, head_weights)

    def _by_head(self, guess: ScaleGuess | None, inputs: WeightInputs) -> ScaleGuess | None:
        """A guess with every head's own part of the loss."""
        head_weights = at_step(self.heads.loss_weights, inputs.step)
        if guess is None or head_weights is None:
            return guess
        weights_H = torch.tensor(head_weights, device=self.world.device)
        return _ByHead(guess, weights_H, inputs.labels_BTH[..., 0].numel())


@dataclass(frozen=True, eq=False)
class _ByHead:
    """A guess with a factor for every head; rows are in `heads_first` order."""

    guess: ScaleGuess
    weights_H: torch.Tensor
    rows_per_head: int

    @property
    def most(self) -> float:
        return self.guess.most

    def __call__(self, rows_R: torch.Tensor, nll_R: torch.Tensor, /) -> torch.Tensor:
        return self.guess(rows_R, nll_R) * self.weights_H[rows_R // self.rows_per_head]


def batch_inputs(batch: Batch, n_future: int, *, stride: int = 1, **rest: Any) -> WeightInputs:
    """A batch as weightings see it; `rest`: the fields of `WeightInputs` that no batch has."""
    return WeightInputs(
        labels_BTH=shift_labels(batch.labels_BT, n_future, batch.segment_ids_BT, stride=stride),
        stride=stride,
        rows_B=batch.rows_B,
        slots_B=batch.slots_B,
        prompt_lens_B=batch.prompt_lens_B,
        lengths_B=batch.lengths_B,
        is_correct_B=batch.is_correct_B,
        columns=batch.columns,
        **rest,
    )
