"""Per-token score columns over whole tables, and validation: one forward over every row, spread over the ranks.

Shapes: B batch, T sequence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from wmtp.distributed import World
from wmtp.errors import NumericsError
from wmtp.objectives import shift_labels
from wmtp.tokens.data import Batch, TokenData, ahead, sequential_batches
from wmtp.tokens.tables import FINGERPRINT, write_table
from wmtp.types import IGNORE_INDEX

ScoreFunction = Callable[[Batch], torch.Tensor]
"""Batch -> (B, T) float32 per-token scores; entries on padding are ignored."""


def reference_nll(model: nn.Module) -> ScoreFunction:
    """NLL of every token (prompt included) given the tokens before it; 0 for the first, of packed rows of every piece."""

    def score(batch: Batch) -> torch.Tensor:
        position = torch.arange(batch.input_ids.shape[1], device=batch.input_ids.device)
        labels_BT = batch.input_ids.masked_fill(position >= batch.lengths_B.unsqueeze(1), IGNORE_INDEX)
        nll_BT1 = model(**batch.inputs, labels_BTH=shift_labels(labels_BT, 1, batch.segment_ids_BT)).nll_BTH
        return torch.nn.functional.pad(nll_BT1[:, :-1, 0], (1, 0))

    return score


def critic_values(model: nn.Module) -> ScoreFunction:
    """V(s_t), the probability that the solution is correct given the prefix up to and including token t."""

    def score(batch: Batch) -> torch.Tensor:
        return torch.sigmoid(model(batch.input_ids, batch.columns.get("reference_nll")))

    return score


@torch.no_grad()
def score_rows(
    world: World,
    data: TokenData,
    score: ScoreFunction,
    scratch: Path,
    *,
    batch_tokens: int,
    say: Callable[[str], None],
) -> np.ndarray:
    """Score every token of every row; ranks write into one memory-mapped file.

    Args:
        scratch: a file name on a disk that all ranks share; removed by the caller.
        say: progress lines, called on rank 0 every two seconds at most.
    Returns:
        flat float32 array aligned with `data.tokens`, memory-mapped; complete on every rank.
    Raises:
        NumericsError: a score is NaN or infinite; on every rank.
    """
    if world.is_main:
        flat = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.float32, shape=(max(1, len(data.tokens)),))
        flat.flush()
    world.barrier()
    flat = np.lib.format.open_memmap(scratch, mode="r+")
    done, spoken = 0, time.monotonic()
    batches = sequential_batches(data, batch_tokens=batch_tokens, rank=world.rank, world_size=world.size)
    for batch, scores_BT in ahead(batches, lambda batch: (batch, score(batch.to(world.device)).float())):
        scores = scores_BT.cpu().numpy()
        for row, length, values in zip(batch.rows_B.tolist(), batch.lengths_B.tolist(), scores, strict=True):
            if row >= 0:
                flat[data.offsets[row] : data.offsets[row] + length] = values[:length]
        done += len(batch.rows_B)
        if world.is_main and time.monotonic() - spoken > 2:
            say(f"{data.path.stem}: {min(len(data), done * world.size):,}/{len(data):,} examples scored")
            spoken = time.monotonic()
    flat.flush()
    world.barrier()
    num_broken = int((~np.isfinite(flat)).sum())
    if num_broken:
        raise NumericsError(f"{num_broken:,} of {len(flat):,} scores of {data.path} are NaN or infinite: the model is broken")
    return flat


def write_scores(path: Path, data: TokenData, name: str, flat: np.ndarray) -> None:
    """A score column as an Arrow table, row-aligned with its dataset and carrying its fingerprint."""
    column = pa.LargeListArray.from_arrays(pa.array(data.offsets), pa.array(flat[: len(data.tokens)]))
    write_table(path, pa.table({name: column}).replace_schema_metadata({FINGERPRINT: data.fingerprint}))


def validation_nll(
    world: World, model: nn.Module, data: TokenData, n_future: int, *, batch_tokens: int, stride: int = 1
) -> dict[str, float]:
    """`val/nll_head<h>`: mean NLL of the response tokens of every row, per head. All ranks call it.

    Args:
        stride: of the model's heads.
    """
    sums = torch.zeros(2, n_future, dtype=torch.float64, device=world.device)
    for batch in sequential_batches(data, batch_tokens=batch_tokens, rank=world.rank, world_size=world.size):
        batch = batch.to(world.device)
        labels_BTH = shift_labels(batch.labels_BT, n_future, batch.segment_ids_BT, stride=stride)
        nll_BTH = model(**batch.inputs, labels_BTH=labels_BTH).nll_BTH
        sums[0] += nll_BTH.double().sum(dim=(0, 1))
        sums[1] += (labels_BTH != IGNORE_INDEX).sum(dim=(0, 1))
    world.all_reduce(sums)
    means = (sums[0] / sums[1].clamp(min=1)).tolist()
    return {f"val/nll_head{h}": value for h, value in enumerate(means)}
