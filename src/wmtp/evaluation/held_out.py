"""NLL and accuracy of every head on held-out text.

Shapes: B batch, T sequence, H heads.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from wmtp.data.loader import Rows, sequential_batches
from wmtp.distributed import World
from wmtp.objectives import shift_labels
from wmtp.types import IGNORE_INDEX


@torch.inference_mode()
def held_out_metrics(world: World, model: Any, rows: Rows, *, batch_tokens: int, pad_token_id: int) -> dict[str, Any]:
    """Mean NLL (nats) and top-1 accuracy per head over the response tokens of every row; perplexity of head 0.

    Returns:
        {"nll": {"head0": ...}, "token_accuracy": {"head0": ...}, "perplexity", "num_tokens"}, the same on every rank.
    """
    n_future = model.config.n_future
    sums = torch.zeros(3, n_future, dtype=torch.float64, device=world.device)
    for batch in sequential_batches(
        rows, batch_tokens=batch_tokens, pad_token_id=pad_token_id, rank=world.rank, world_size=world.size
    ):
        batch = batch.to(world.device)
        labels_BTH = shift_labels(batch.labels_BT, n_future)
        valid_BTH = labels_BTH != IGNORE_INDEX
        for h, logits_BTV in enumerate(model.head_logits(batch.input_ids)):
            labels_BT, valid_BT = labels_BTH[..., h], valid_BTH[..., h]
            nll = torch.nn.functional.cross_entropy(logits_BTV.transpose(1, 2).float(), labels_BT, reduction="none")
            hits = (logits_BTV.argmax(dim=-1) == labels_BT) & valid_BT
            sums[:, h] += torch.stack([nll.double().sum(), hits.sum().double(), valid_BT.sum().double()])
    world.all_reduce(sums)
    counts = sums[2].clamp(min=1)
    nll_H, accuracy_H = (sums[0] / counts).tolist(), (sums[1] / counts).tolist()
    return {
        "nll": {f"head{h}": value for h, value in enumerate(nll_H)},
        "token_accuracy": {f"head{h}": value for h, value in enumerate(accuracy_H)},
        "perplexity": math.exp(min(700.0, nll_H[0])),
        "num_tokens": int(sums[2, 0]),
    }
