"""The one training loop. What is learnt is the step function's business; how long, how fast and how safely is here."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from wmtp.checkpoint import Checkpointer, TrainState
from wmtp.config.runtime import RuntimeConfig
from wmtp.config.training import HeadsConfig, OptimConfig, TrainConfig
from wmtp.distributed import World, seed_everything
from wmtp.errors import NumericsError, PreemptedError
from wmtp.notice import heeded
from wmtp.tokens.data import Batch, ahead
from wmtp.tokens.loader import TrainLoader
from wmtp.training.meters import Meters, StepMetrics
from wmtp.training.optim import HeadWarmup, build_optimizers, lr_factor
from wmtp.training.pace import Pace

SPIKE, SPIKE_WINDOW = 6.0, 10
"""A flush's loss so many standard deviations above the mean of so many flushes before it is reported."""


class TrainStep(Protocol):
    """Forward and backward of one global batch; gradients are left on the model, scaled for FSDP's mean over ranks."""

    def __call__(self, batches: Sequence[Batch], step: int) -> StepMetrics: ...


MetricsRow = dict[str, float]
"""What was measured between two flushes, by name; `step` and `tokens` say when."""


@dataclass
class LoopState:
    """Everything that a resumed run needs besides the tensors. Plain data.

    `flops`: what the model's training was so far, see `ModelFlops`.
    `best`, `best_step`: with early stopping the smallest validation objective so far and where it was measured;
    `num_worse`: validations since.
    """

    step: int = 0
    tokens: int = 0
    time_s: float = 0.0
    rows: list[MetricsRow] = field(default_factory=list)
    best: float = math.inf
    best_step: int | None = None
    num_worse: int = 0
    flops: float = 0.0

    def count(self, tokens: int, flops: float) -> None:
        """One more step, over so many tokens."""
        self.step, self.tokens, self.flops = self.step + 1, self.tokens + tokens, self.flops + flops

    @property
    def result_step(self) -> int:
        """The step whose model is the result: the best validated one with early stopping, otherwise the last."""
        return self.step if self.best_step is None else self.best_step

    @property
    def result_row(self) -> MetricsRow:
        """What was measured when the model was what the result is. Whoever reports a run reports this row."""
        return next(row for row in self.rows if row["step"] == self.result_step)


def train(
    *,
    world: World,
    model: nn.Module,
    step_function: TrainStep,
    loader: TrainLoader,
    config: TrainConfig,
    runtime: RuntimeConfig,
    optim: OptimConfig,
    checkpointer: Checkpointer,
    validate: Callable[[], dict[str, float]],
    objective: str,
    on_row: Callable[[MetricsRow], None],
    seed: int,
    heads: HeadsConfig | None = None,
    peak_flops: float | None = None,
) -> LoopState:
    """Run `config.steps` optimizer steps, from the newest checkpoint if there is one.

    Args:
        model: already sharded; step_function: see `TrainStep`; validate: metrics named `val/...`, called by all ranks.
        objective: the one of them that early stopping minimises.
        on_row: called on every rank with each flushed row of metrics (step, tokens, time_s, train/..., val/...).
        seed: of dropout, a stream for each rank; heads: how further heads are trained; peak_flops: of a device, see `Pace`.
    Returns:
        the final state; its `rows` go back to step 0, also over restarts. The model is that of `result_step`.
    Raises:
        PreemptedError: a rank had notice (see `wmtp.notice`); the checkpoint of the step that it names is complete.
        NumericsError: NaN, Inf or broken weights, no later than the next flush. Either is raised on every rank at once.
    """
    heads, meters = heads or HeadsConfig(), Meters(world)
    train_state = TrainState(model, build_optimizers(model, optim, heads, masters=config.masters, seed=seed), meters)
    warmup = HeadWarmup(model, train_state.optimizers, heads)
    seed_everything(seed, world.rank)
    state = _resumed(checkpointer, train_state, world, seed)
    gate, started = _Gate(world), time.monotonic() - state.time_s
    pace = Pace(world, model, loader, dtype=config.dtype, heads=heads, peak_flops=peak_flops)
    model.train()
    with checkpointer, heeded(world) as departure, _what_is_kept(checkpointer):
        for micro_batches in _micro_batches(loader, world, state, config):
            warmup.set_learning_rates(factor := lr_factor(optim, state.step, config.steps), optim, state.step)
            metrics = step_function(micro_batches, state.step)
            _move(model, warmup, optim, metrics, gate, state.step)
            meters.add(metrics)
            state.count(loader.num_tokens(state.step), pace.flops(state.step))
            due, leaves = _Due.after(state.step, config, runtime), departure.is_due()
            if due.flush or leaves:
                gate.check()
            if due.flush:
                row: MetricsRow = {"step": state.step, "tokens": state.tokens, "train/lr_factor": factor, **meters.flush()}
                if due.validation:
                    row.update(_validated(model, validate, state.step))
                _flush(state, row, started, pace, world, on_row)
                checkpointer.poll()
            improved = due.validation and config.early_stopping_patience is not None and _judge(state, objective)
            if due.checkpoint or improved or leaves:
                _keep(state, started, checkpointer, train_state, leaves=leaves)
    if state.result_step != state.step:
        checkpointer.load(state.result_step, train_state)
    return state


@contextmanager
def _what_is_kept(checkpointer: Checkpointer) -> Iterator[None]:
    """Numbers that are broken are told with what of the training is left."""
    try:
        yield
    except NumericsError as error:
        newest = checkpointer.newest
        kept = "there is no checkpoint yet" if newest is None else f"the checkpoint of step {newest} is kept"
        raise NumericsError(f"{error}; {kept}") from None


def _micro_batches(loader: TrainLoader, world: World, state: LoopState, config: TrainConfig) -> Iterator[list[Batch]]:
    """Of every step until the training ends, on the device; the next step's are made and sent before each is handed out."""
    steps = range(state.step, config.steps)
    coming = ahead(map(loader.micro_batches, steps), lambda some: [batch.to(world.device) for batch in some])
    while state.step < config.steps and not _is_exhausted(state, config):
        yield next(coming)


def _move(model: nn.Module, warmup: HeadWarmup, optim: OptimConfig, metrics: StepMetrics, gate: _Gate, step: int) -> None:
    """Take the optimizer step that the gradients on the model say, and watch what must never be."""
    moving = warmup.moving(step)
    norm = _clip(model, optim.clip_norm)
    metrics.ratios["train/grad_norm"] = (norm, torch.ones_like(norm))
    gate.watch(metrics.broken | {"loss or gradient is NaN or Inf": _is_not_finite(metrics, norm)}, step)
    for optimizer in moving:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _resumed(checkpointer: Checkpointer, train_state: TrainState, world: World, seed: int) -> LoopState:
    restored = checkpointer.load_newest(train_state, seed=seed)
    if restored and world.is_main:
        print(f"resumed from step {restored['step']}", flush=True)
    return LoopState(**restored) if restored else LoopState()


def _keep(state: LoopState, started: float, checkpointer: Checkpointer, train_state: TrainState, *, leaves: bool) -> None:
    """Write a checkpoint; where all ranks leave, wait until it is complete."""
    state.time_s = time.monotonic() - started
    checkpointer.save(state.step, train_state, vars(state), best=state.best_step)
    if leaves:
        checkpointer.wait()
        raise PreemptedError(state.step)


@dataclass(frozen=True)
class _Due:
    """What follows the step that has just been taken."""

    flush: bool
    validation: bool
    checkpoint: bool

    @classmethod
    def after(cls, step: int, config: TrainConfig, runtime: RuntimeConfig) -> _Due:
        last = step == config.steps
        checkpoint = step % runtime.checkpoint_interval == 0 and not last
        validation = step % config.eval_interval == 0 or last
        return cls(checkpoint or validation or step % runtime.log_interval == 0, validation, checkpoint)


def _flush(
    state: LoopState, row: MetricsRow, started: float, pace: Pace, world: World, on_row: Callable[[MetricsRow], None]
) -> None:
    """Complete a row of metrics, keep it, and tell everyone."""
    state.time_s = time.monotonic() - started
    row |= {"time_s": state.time_s, **pace.row(state.tokens, state.flops, state.time_s)}
    spread = _spikes(state.rows, row["train/loss"])
    row["train/loss_spike"] = spread
    if spread > SPIKE and world.is_main:
        print(f"loss spike: {row['train/loss']:.4g} at step {state.step}, {spread:.1f} deviations above the flushes before")
    state.rows.append(row)
    on_row(row)


def _spikes(rows: Sequence[MetricsRow], loss: float) -> float:
    """How many standard deviations `loss` is above the mean of the last flushes (0 before there are enough of them)."""
    before = [row["train/loss"] for row in rows[-SPIKE_WINDOW:]]
    if len(before) < SPIKE_WINDOW:
        return 0.0
    return max(0.0, (loss - statistics.fmean(before)) / max(statistics.pstdev(before), 1e-12))


def _judge(state: LoopState, objective: str) -> bool:
    """Whether the newest validation is the best so far, remembered in `state`."""
    value = state.rows[-1][objective]
    improved = value < state.best
    state.num_worse = 0 if improved else state.num_worse + 1
    if improved:
        state.best, state.best_step = value, state.step
    return improved


def _is_exhausted(state: LoopState, config: TrainConfig) -> bool:
    return config.early_stopping_patience is not None and state.num_worse >= config.early_stopping_patience


def _validated(model: nn.Module, validate: Callable[[], dict[str, float]], step: int) -> dict[str, float]:
    model.eval()
    with torch.no_grad():
        metrics = validate()
    model.train()
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise NumericsError(f"{name}={value} at step {step}")
    return metrics


def _clip(model: nn.Module, max_norm: float) -> torch.Tensor:
    """Clip the global gradient norm; the norm before clipping, on the device."""
    norm: Any = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _is_not_finite(metrics: StepMetrics, norm: torch.Tensor) -> torch.Tensor:
    """Whether the gradients or this rank's loss are NaN or Inf: a loss can be and leave gradients that are not."""
    loss, _ = metrics.ratios["train/loss"]
    return ~(torch.isfinite(norm) & torch.isfinite(loss))


class _Gate:
    """Remembers on the device the first step at which something was what it must never be."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._first: dict[str, torch.Tensor] = {}

    def watch(self, broken: dict[str, torch.Tensor], step: int) -> None:
        """`broken`: the same names on every rank and at every step."""
        for name, flag in broken.items():
            here = torch.where(flag, float(step + 1), math.inf).double()
            self._first[name] = torch.minimum(self._first[name], here) if name in self._first else here

    def check(self) -> None:
        """Every rank comes to the same conclusion."""
        firsts = self._world.all_reduce(torch.stack(list(self._first.values())), op=torch.distributed.ReduceOp.MIN).tolist()
        first, name = min(zip(firsts, self._first, strict=True), key=lambda pair: pair[0])
        if first != math.inf:
            raise NumericsError(f"{name} at step {int(first)}")
