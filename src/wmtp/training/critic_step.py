"""The critic's step function.

Shapes: B batch, T sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from wmtp.config.schema import CriticConfig
from wmtp.distributed import World
from wmtp.objectives.returns import lambda_returns
from wmtp.tokens.data import Batch
from wmtp.training.meters import StepMetrics, add_batch_ratios, add_ratio


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
            start=torch.zeros((), dtype=torch.int64, device=self.world.device),
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
            add_ratio(metrics, "train/loss", loss, 1.0 / (self.world.size * len(batches)))
            add_batch_ratios(metrics, batch)
            add_ratio(metrics, "train/value_mean", (values_BT * mask_BT).sum(), mask_BT.sum())
        return metrics

    def _loss(self, logits_BT: torch.Tensor, values_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        if self.config.loss == "bce":
            return torch.nn.functional.binary_cross_entropy_with_logits(logits_BT, targets_BT.clamp(0, 1), reduction="none")
        if self.config.loss == "huber":
            return torch.nn.functional.smooth_l1_loss(values_BT, targets_BT, beta=0.5, reduction="none")
        return (values_BT - targets_BT).square()
