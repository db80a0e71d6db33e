"""Optimizers and the learning-rate schedule."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from wmtp.config.training import OptimConfig

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
        params: 2-D parameters, DTensors sharded on dimension 0 over one mesh, or plain tensors.
    """

    def __init__(self, params: Iterable[torch.Tensor], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
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


def build_optimizers(model: nn.Module, config: OptimConfig) -> list[torch.optim.Optimizer]:
    """AdamW on every trainable parameter; with `muon`, Muon takes the decoder blocks' matrices.

    Vectors (norms' gains, biases) and embeddings (and an unembedding tied to them) do not decay.
    """
    adamw: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    matrices: list[torch.Tensor] = []
    for parameter, decays, is_block_matrix in _parameters(model):
        (matrices if config.name == "muon" and is_block_matrix else adamw[decays]).append(parameter)
    groups = [{"params": some, "weight_decay": config.weight_decay * decays} for decays, some in adamw.items() if some]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)
    ]
    if matrices:
        optimizers.append(Muon(matrices, lr=config.muon_lr, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def set_learning_rates(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Scale every group's peak learning rate by `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
