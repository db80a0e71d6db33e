"""How fast a training goes, and how much memory it takes: the rows' `perf/...`."""

from __future__ import annotations

import resource

import torch
from torch import nn

from wmtp.config.accelerators import known
from wmtp.config.training import HeadsConfig
from wmtp.distributed import World
from wmtp.models.flops import model_flops
from wmtp.tokens.loader import TrainLoader


class Pace:
    """A training's work, from the model and the examples, over its time.

    Args:
        dtype: that is computed in; heads: their warm-up, in which less is done.
        peak_flops: of one device in that dtype, FLOP/s; None: as its maker says, where it is known.
    """

    def __init__(
        self,
        world: World,
        model: nn.Module,
        loader: TrainLoader,
        *,
        dtype: str,
        heads: HeadsConfig,
        peak_flops: float | None = None,
    ) -> None:
        self._world, self._loader, self._warmup_steps = world, loader, heads.warmup_steps
        self._flops, self._early_flops = model_flops(model), model_flops(model, frozen_trunk=True)
        self._stride: int = getattr(getattr(model, "config", None), "head_stride", 1)
        self._peak = peak_flops or _peak_flops(world.device, dtype)

    def flops(self, step: int) -> float:
        """Of the step's whole global batch, see `ModelFlops`."""
        flops = self._early_flops if step < self._warmup_steps else self._flops
        lengths_N, place_T, is_target_T = self._loader.data.documents(self._loader.global_rows(step))
        num_targets = sum(int(is_target_T[place_T > h * self._stride].sum()) for h in range(flops.num_heads))
        return flops.of_documents(lengths_N, num_targets)

    def row(self, tokens: int, flops: float, time_s: float) -> dict[str, float]:
        """Of a training that has come so far, validations and checkpoints included. All ranks call it.

        `perf/model_flops_per_s` is all ranks' together; `perf/mfu` its share of their peak, where that is known.
        """
        row = {"perf/tokens_per_s": tokens / time_s, "perf/model_flops_per_s": flops / time_s}
        if self._peak is not None:
            row["perf/mfu"] = flops / time_s / (self._peak * self._world.size)
        return row | {"perf/peak_memory_bytes": peak_memory_bytes(self._world)}


def _peak_flops(device: torch.device, dtype: str) -> float | None:
    if device.type != "cuda":
        return None
    found = known(torch.cuda.get_device_name(device))
    return None if found is None else found.flops[dtype]


def peak_memory_bytes(world: World) -> float:
    """Largest memory of this rank's process (CPU: resident set; CUDA: allocated), the maximum over ranks."""
    if world.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    largest = torch.tensor(float(peak), dtype=torch.float64, device=world.device)
    return float(world.all_reduce(largest, op=torch.distributed.ReduceOp.MAX))
