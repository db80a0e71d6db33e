"""How fast this machine's processors train a model: a step of a few of its layers, timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from wmtp.models.flops import model_flops
from wmtp.models.mtp import MTPForCausalLM
from wmtp.objectives import shift_labels
from wmtp.types import IGNORE_INDEX

MOST_FLOPS = 1e12
"""A step of more operations is not tried: it would take a processor minutes."""


def reached_flops(
    model: MTPForCausalLM, rows: int, length: int, prompt_len: int, *, reads_values: bool = False
) -> float | None:
    """Operations per second of one thread, in its own time, of a training step of the heads, the unembedding and two layers.

    What a small model loses between its products is in it, and what the optimizer and other ranks take is not.

    Args:
        model: on the meta device, of no use afterwards; rows, length: of a micro-batch; prompt_len: tokens that are no targets.
        reads_values: no unembedding, as a critic has none.
    Returns:
        None where a step is too much to try.
    """
    whole, num_heads = model_flops(model), len(model.heads)
    del model.layers[2:-1]  # layers of one kind
    attention = (*whole.attention[:-num_heads][:2], *whole.attention[-num_heads:])
    ids_BT = torch.randint(model.config.vocab_size, (rows, length), generator=torch.Generator().manual_seed(0))
    labels_BTH = shift_labels(
        ids_BT.masked_fill(torch.arange(length) < prompt_len, IGNORE_INDEX), num_heads, stride=model.config.head_stride
    )
    num_targets = 0 if reads_values else int((labels_BTH != IGNORE_INDEX).sum())
    flops = replace(model_flops(model), attention=attention).of_documents(np.full(rows, length), num_targets)
    if flops > MOST_FLOPS:
        return None
    model.to_empty(device="cpu").train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02)
        for buffer in model.buffers():
            buffer.zero_()

    def step() -> None:
        if reads_values:
            model.features(ids_BT).sum().backward()
        else:
            model(input_ids=ids_BT, labels_BTH=labels_BTH, scale_BTH=torch.ones(labels_BTH.shape)).nll_BTH.sum().backward()

    return flops / _seconds(step)


def _seconds(step: Callable[[], None]) -> float:
    """Of one thread's own: how busy the machine is otherwise does not count. The first step warms up."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        step()
        began = time.process_time()
        step()
        return max(time.process_time() - began, 1e-9)
    finally:
        torch.set_num_threads(threads)
