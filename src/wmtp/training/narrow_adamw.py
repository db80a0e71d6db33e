"""AdamW on bfloat16 weights without losing what is smaller than they can hold: rounded at random, or what is lost is kept.

bfloat16 has 8 bits: a change of less than 1/512 of a weight rounds to nothing, and late in a training nearly all are. Rounded
at random, up with the probability of the share that is cut off, the weight's expectation is the float32 one. With Kahan's
compensation a second bfloat16 number carries the rest to the next step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from wmtp.objectives.hashing import splitmix64

_PART = 2**22
"""Numbers that are worked on at a time: what is done in float32 needs some room of its own."""


def rounded_at_random(x: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """float32 to bfloat16, up or down with probabilities that make the expectation `x`.

    Args:
        bits: int64, of which the lowest 16 are random, one for each number. Numbers that bfloat16 holds stay; NaN stays NaN.
    Source: Gupta et al. 2015, arXiv 1502.02551, section 3; for bfloat16 weights Zamirai et al. 2020, arXiv 2010.06192.
    """
    patterns = x.view(torch.int32) + (bits & 0xFFFF).int()
    cut = (patterns & -0x10000).view(torch.float32)
    return torch.where(x.isfinite(), cut, x).bfloat16()


class NarrowAdamW(torch.optim.Optimizer):
    """AdamW whose weights and states are bfloat16; every step computes in float32.

    The states are rounded at random in either case. Random bits are a function of seed, step, parameter and a number's place in
    the whole parameter: they are the same for every number of ranks, and resuming needs nothing but the step.

    Args:
        params: bfloat16 parameters, DTensors sharded over one mesh, or plain tensors; or groups of them.
        compensated: keep what the weights' rounding to the nearest loses (a third state) instead of rounding at random.
        seed: of the run; stream: tells its optimizers apart.
    Source: AdamW, arXiv 1711.05101, algorithm 2; Kahan summation in arXiv 2010.06192, algorithm 3.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float = 0.0,
        eps: float = 1e-8,
        compensated: bool = False,
        seed: int = 0,
        stream: int = 0,
    ) -> None:
        super().__init__(list(params), {"lr": lr, "betas": betas, "weight_decay": weight_decay, "eps": eps})
        self._compensated, self._key = compensated, torch.tensor(seed * 2**8 + stream)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        number = 0
        for group in self.param_groups:
            for p in group["params"]:
                number += 1
                if p.grad is not None:
                    self._update(p, group, number)

    def _update(self, p: torch.Tensor, group: dict[str, Any], number: int) -> None:
        state = self.state[p]
        if not state:
            state["step"] = torch.zeros(())
            names = ("exp_avg", "exp_avg_sq", *(("compensation",) if self._compensated else ()))
            state |= {name: torch.zeros_like(p, memory_format=torch.contiguous_format) for name in names}
        state["step"] += 1
        step, (beta1, beta2) = int(state["step"]), group["betas"]
        scale, root = group["lr"] / (1 - beta1**step), (1 - beta2**step) ** 0.5
        key = int(splitmix64(splitmix64(splitmix64(self._key) ^ step) ^ number))  # made here: nothing waits for the device
        rests = _parts(state["compensation"]) if self._compensated else itertools.repeat(None)
        moments = zip(_parts(state["exp_avg"]), _parts(state["exp_avg_sq"]), strict=True)
        parts = zip(_parts(p), _parts(p.grad), moments, _places(p), rests, strict=False)
        for weight, gradient, (mean, square), places, rest in parts:
            bits, grad = splitmix64(places ^ key), gradient.float()
            new_mean = torch.lerp(mean.float(), grad, 1 - beta1)
            new_square = square.float().mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            new = weight.float().mul_(1 - group["lr"] * group["weight_decay"])
            if rest is not None:
                new += rest.float()
            new.addcdiv_(new_mean, new_square.sqrt().div_(root).add_(group["eps"]), value=-scale)
            mean.copy_(rounded_at_random(new_mean, bits >> 16))
            square.copy_(rounded_at_random(new_square, bits >> 32))
            weight.copy_(rounded_at_random(new, bits) if rest is None else new)
            if rest is not None:
                rest.copy_(new - weight.float())


def _local(tensor: Any) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _parts(tensor: Any) -> Iterator[torch.Tensor]:
    return iter(_local(tensor).view(-1).split(_PART))


def _places(p: torch.Tensor) -> Iterator[torch.Tensor]:
    """Of this rank's numbers, in the whole parameter; shards are of the first dimension."""
    start = 0
    if isinstance(p, DTensor):
        _, offsets = compute_local_shape_and_global_offset(p.shape, p.device_mesh, p.placements)
        start = offsets[0] * math.prod(p.shape[1:])
    local = _local(p)
    for first in range(start, start + local.numel(), _PART):
        yield torch.arange(first, min(first + _PART, start + local.numel()), device=local.device)
