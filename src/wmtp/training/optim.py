"""Optimizers and the learning-rate schedule."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from wmtp.config.training import HeadsConfig, OptimConfig, at_step
from wmtp.training.narrow_adamw import NarrowAdamW

_NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_NS_STEPS = 5


def lr_factor(config: OptimConfig, step: int, total_steps: int) -> float:
    """Share of the peak learning rate at `step` (0-based): linear warm-up, then down to `min_lr_frac` at the last step."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    falling = total_steps - 1 - config.warmup_steps
    done = (step - config.warmup_steps) / falling if falling > 0 else 1.0
    shape = 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.min_lr_frac + (1 - config.min_lr_frac) * shape


def orthogonalise(matrices: torch.Tensor) -> torch.Tensor:
    """Approximate U V^T of each matrix's SVD by five quintic Newton-Schulz steps.

    Args:
        matrices: (K, A, B), one shape, float32.
    Returns:
        (K, A, B) float32. bfloat16 matmuls on CUDA; float32 on CPUs, many of which emulate bfloat16 slowly.
    Source: Jordan et al. 2024, Muon; the same coefficients as torch.optim.Muon.
    """
    a, b, c = _NS_COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7).view(-1, 1, 1).to(x.dtype)
    for _ in range(_NS_STEPS):
        gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.transpose(1, 2) if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Muon for sharded matrices.

    torch.optim.Muon runs its iteration operator by operator on DTensors, one small collective each. Here the ranks
    exchange momentum once, each orthogonalises its share of whole matrices in batches of one shape, and the updates
    are exchanged once.

    Args:
        params: 2-D parameters, DTensors sharded on dimension 0 over one mesh, or plain tensors; or groups of them.
    """

    def __init__(self, params: Iterable[Any], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            nesterov = []
            for p in params:
                buffer = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                nesterov.append(torch.lerp(_local(p.grad), _local(buffer), group["momentum"]))
            for p, update in zip(params, _orthogonal_shards(params, nesterov), strict=True):
                rows, columns = p.shape
                local = _local(p)
                local.mul_(1 - group["lr"] * group["weight_decay"])
                local.add_(update, alpha=-group["lr"] * math.sqrt(max(1.0, rows / columns)))


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _orthogonal_shards(params: list[Any], shards: list[torch.Tensor]) -> list[torch.Tensor]:
    """Each rank's rows of the orthogonalised matrices, given its rows of the matrices."""
    if not params:
        return []
    sharded = isinstance(params[0], DTensor) and params[0].device_mesh.size() > 1
    if not sharded:
        return _by_shape(shards, range(len(shards)))
    mesh = params[0].device_mesh
    group, rank, size = mesh.get_group(), mesh.get_local_rank(), mesh.size()
    sizes = [[_rows_of(p.shape[0], size, r) * p.shape[1] for p in params] for r in range(size)]
    longest = max(sum(row) for row in sizes)
    mine = torch.cat([shard.flatten() for shard in shards])
    mine = torch.nn.functional.pad(mine, (0, longest - mine.numel()))
    parts = [torch.empty_like(mine) for _ in range(size)]
    dist.all_gather(parts, mine, group=group)
    pieces = [part[: sum(row)].split(row) for part, row in zip(parts, sizes, strict=True)]
    full = [torch.cat([pieces[r][i] for r in range(size)]).view(p.shape) for i, p in enumerate(params)]
    owned = _share_out([p.numel() for p in params], size)[rank]
    done = _by_shape(full, owned)
    flat = torch.zeros(sum(p.numel() for p in params), dtype=mine.dtype, device=mine.device)
    views = [view.view(p.shape) for view, p in zip(flat.split([p.numel() for p in params]), params, strict=True)]
    for index, update in zip(owned, done, strict=True):
        views[index].copy_(update)
    dist.all_reduce(flat, group=group)
    starts = [sum(_rows_of(p.shape[0], size, r) for r in range(rank)) for p in params]
    return [view[start : start + shard.shape[0]] for view, start, shard in zip(views, starts, shards, strict=True)]


def _rows_of(rows: int, size: int, rank: int) -> int:
    """Rows that FSDP gives `rank` of `rows` (torch.chunk's rule)."""
    chunk = -(-rows // size)
    return max(0, min(chunk, rows - rank * chunk))


def _share_out(costs: list[int], size: int) -> list[list[int]]:
    """Indices per rank, greedily balanced by cost."""
    shares: list[list[int]] = [[] for _ in range(size)]
    loads = [0] * size
    for index in sorted(range(len(costs)), key=lambda i: -costs[i]):
        rank = loads.index(min(loads))
        shares[rank].append(index)
        loads[rank] += costs[index]
    return shares


def _by_shape(matrices: list[torch.Tensor], indices: Iterable[int]) -> list[torch.Tensor]:
    """Orthogonalise the matrices at `indices`, batching those of one shape (a transposed shape counts as the same)."""
    indices = list(indices)
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in indices:
        groups.setdefault(tuple(sorted(matrices[index].shape)), []).append(index)
    results: dict[int, torch.Tensor] = {}
    for members in groups.values():
        wide = [matrices[i] if matrices[i].shape[0] <= matrices[i].shape[1] else matrices[i].T for i in members]
        for i, update in zip(members, orthogonalise(torch.stack(wide)), strict=True):
            results[i] = update if matrices[i].shape[0] <= matrices[i].shape[1] else update.T
    return [results[i] for i in indices]


_NOT_OF_A_BLOCK = re.compile(r"(lm_head|nll_projection|^head\.\d+)\.weight$")
"""Matrices of linear layers outside of the decoder's blocks: Muon is for those inside."""


def _parameters(model: nn.Module) -> Iterator[tuple[nn.Parameter, bool, bool]]:
    """Every trainable parameter once, whether it decays, and whether it is a matrix of a decoder block.

    By what they are and not by name: families name them as they like. Weight decay pulls matrices towards zero, which bounds
    what they amplify. A gain that is pulled there turns its layer off, and an embedding's row would shrink at every step at
    which its token does not occur.
    """
    seen: set[nn.Parameter] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                is_matrix = parameter.ndim >= 2 and not isinstance(module, nn.Embedding)
                is_linear = is_matrix and isinstance(module, nn.Linear) and ".lora_" not in name
                yield parameter, is_matrix, is_linear and not _NOT_OF_A_BLOCK.search(name)


def build_optimizers(
    model: nn.Module, config: OptimConfig, heads: HeadsConfig | None = None, *, masters: str = "float32", seed: int = 0
) -> list[torch.optim.Optimizer]:
    """AdamW on every trainable parameter; with `muon`, Muon takes the decoder blocks' matrices.

    Vectors (norms' gains, biases) and embeddings (and an unembedding tied to them) do not decay.

    Args:
        heads: with a warm-up, further heads have optimizers of their own, after those that rest meanwhile; with learning-rate
            factors every head has groups of its own.
        masters: `float32`, or how bfloat16 weights are kept (see `NarrowAdamW`); seed: of what is drawn for that.
    """
    heads = heads or HeadsConfig()
    head_of = _heads_of(model)
    parts: dict[bool, list[_Owned]] = {False: [], True: []}
    for parameter, decays, is_block_matrix in _parameters(model):
        head = head_of.get(parameter, TRUNK)
        is_muons = config.name == "muon" and is_block_matrix
        parts[bool(heads.warmup_steps) and head != TRUNK and head != 0].append(
            _Owned(parameter, is_muons, decays, head if heads.lr_factors.final and head >= 0 else TRUNK)
        )
    optimizers = [
        optimizer
        for stream, owned in enumerate(parts.values())
        if owned
        for optimizer in _optimizers(owned, config, masters, seed, stream)
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


@dataclass(frozen=True)
class _Owned:
    """A parameter, and what decides its group."""

    parameter: nn.Parameter
    is_muons: bool
    decays: bool
    head: int


def _optimizers(
    parameters: Iterable[_Owned], config: OptimConfig, masters: str, seed: int, stream: int
) -> list[torch.optim.Optimizer]:
    groups: dict[bool, dict[tuple[int, bool], list[nn.Parameter]]] = {False: defaultdict(list), True: defaultdict(list)}
    for one in parameters:
        groups[one.is_muons][one.head, one.decays].append(one.parameter)
    adamw, muon = (
        [
            {"params": some, "weight_decay": config.weight_decay * decays, "head": head}
            for (head, decays), some in sorted(by_kind.items(), key=lambda item: (item[0][0], not item[0][1]))
        ]
        for by_kind in groups.values()
    )
    made: list[torch.optim.Optimizer] = []
    betas = (config.beta1, config.beta2)
    if adamw and masters != "float32":
        kahan = masters == "kahan"
        made.append(NarrowAdamW(adamw, lr=config.lr, betas=betas, compensated=kahan, seed=seed, stream=stream))
    elif adamw:
        made.append(torch.optim.AdamW(adamw, lr=config.lr, betas=betas, fused=True))
    if muon:
        made.append(Muon(muon, lr=config.muon_lr, weight_decay=config.weight_decay))
    return made


TRUNK, ORDER = -1, -2
"""The `head` of a group of parameters that are no head's own; of those of token-order prediction, which warm up as heads do."""


def _heads_of(model: nn.Module) -> dict[nn.Parameter, int]:
    """The number of the head that a parameter belongs to, 0 for the pretrained one; empty for what has no heads."""
    heads, order = getattr(model, "heads", ()), getattr(model, "token_order", None)
    numbers = {parameter: number for number, head in enumerate(heads) for parameter in head.parameters()}
    return numbers if order is None else {**numbers, **dict.fromkeys(order.parameters(), ORDER)}


class HeadWarmup:
    """The first steps, in which everything rests but further heads.

    What rests keeps its bits, and starts afterwards as if it were step 0: its optimizers remember nothing, and its learning
    rate warms up from there.

    Args:
        optimizers: of `build_optimizers` with the same `heads`.
    """

    def __init__(self, model: nn.Module, optimizers: list[torch.optim.Optimizer], heads: HeadsConfig) -> None:
        further = {parameter for parameter, head in _heads_of(model).items() if head not in (TRUNK, 0)}
        self.steps = heads.warmup_steps if further else 0
        self._lr_factors = heads.lr_factors
        self.late = [o for o in optimizers if self.steps and further.isdisjoint(o.param_groups[0]["params"])]
        self.early = [optimizer for optimizer in optimizers if optimizer not in self.late]

    def moving(self, step: int) -> list[torch.optim.Optimizer]:
        """The optimizers of this step; the others' gradients are dropped, and their states when they begin."""
        if step < self.steps:
            for optimizer in self.late:
                optimizer.zero_grad(set_to_none=True)
            return self.early
        if step == self.steps:
            for optimizer in self.late:
                optimizer.state.clear()
        return [*self.late, *self.early]

    def set_learning_rates(self, factor: float, config: OptimConfig, step: int) -> None:
        """For this step: `factor` of the peaks, of a head's own groups its own number, and what rested warms up from there."""
        head_factors = at_step(self._lr_factors, step)
        _scale(self.early, factor, head_factors)
        _scale(self.late, factor * self._ramp(config, step), head_factors)

    def _ramp(self, config: OptimConfig, step: int) -> float:
        """Factor of what rested: it warms up as everything did at step 0."""
        return min(1.0, (step - self.steps + 1) / max(config.warmup_steps, 1)) if self.steps and step >= self.steps else 1.0


def _scale(optimizers: list[torch.optim.Optimizer], factor: float, head_factors: list[float] | None) -> None:
    """Scale every group's peak learning rate by `factor`, and a head's own groups by the head's."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            own = head_factors[group["head"]] if head_factors and group["head"] != TRUNK else 1.0
            group["lr"] = group["peak_lr"] * factor * own
