"""Peak memory of one policy step against the number of heads, with and without activation checkpointing.

    python benchmarks/memory.py

Every case is a process of its own: resident memory on a CPU, allocated memory on a GPU, in MiB above what was there
before the step (weights, optimizer state and the batch). The number of layers stays the same, as in the paper: every head
more is a trunk layer less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time

HEADS = (1, 2, 4, 8)
SHAPE = {"batch": 8, "length": 512, "hidden_size": 256, "n_layers": 12, "vocab_size": 8000}


def measure(n_future: int, activation_checkpointing: bool) -> float:
    """MiB that one forward and backward pass needs at its peak."""
    import torch

    from wmtp.config.training import ModelConfig, OptimConfig
    from wmtp.distributed import join_world
    from wmtp.models.build import build_model, parallelize
    from wmtp.tokens.data import Batch
    from wmtp.training.optim import build_optimizers
    from wmtp.training.steps import UNIFORM_ARM, LanguageModelStep

    torch.set_num_threads(1)
    batch, length, vocab = SHAPE["batch"], SHAPE["length"], SHAPE["vocab_size"]
    config = ModelConfig(
        hidden_size=SHAPE["hidden_size"],
        intermediate_size=3 * SHAPE["hidden_size"],
        n_layers=SHAPE["n_layers"],
        n_heads=8,
        n_kv_heads=8,
        n_future=n_future,
    )
    with join_world("auto", seed=0) as world:
        model = build_model(config, vocab_size=vocab, max_length=length, pad_token_id=0, eos_token_id=1, seed=0)
        sharded = parallelize(model, world.mesh, dtype="float32", activation_checkpointing=activation_checkpointing)
        step = LanguageModelStep(world, sharded, UNIFORM_ARM, n_future, num_steps=1)
        optimizers = build_optimizers(sharded, OptimConfig(name="adamw"))
        ids = torch.randint(2, vocab, (batch, length))
        whole = torch.full((batch,), length)
        data = Batch(ids, ids.clone(), torch.zeros_like(whole), whole, torch.ones(batch), whole, torch.arange(batch), {})
        step([data], 0)  # gradients, optimizer state and every buffer that stays
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        return _peak_above(lambda: step([data], 1), world.device.type == "cuda")


def _peak_above(run, on_gpu: bool) -> float:
    import torch

    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    import psutil

    process, peak, done = psutil.Process(), 0, threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    run()
    done.set()
    thread.join()
    return (peak - before) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(measure(**json.loads(arguments.case)))
        return
    # Freed memory goes back to the system, so that what is resident is what is in use.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    print(f"peak MiB of a step above its start, {SHAPE}")
    print(f"{'heads':>6} {'plain':>8} {'checkpointed':>13}")
    found: dict[tuple[int, bool], float] = {}
    for heads in HEADS:
        for checkpointed in (False, True):
            case = json.dumps({"n_future": heads, "activation_checkpointing": checkpointed})
            command = [sys.executable, __file__, "--case", case]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            found[heads, checkpointed] = float(done.stdout.split()[-1])
        print(f"{heads:>6} {found[heads, False]:>8.0f} {found[heads, True]:>13.0f}", flush=True)
    for checkpointed, name in ((False, "plain"), (True, "checkpointed")):
        print(f"{name}: 8 heads need {found[8, checkpointed] / found[4, checkpointed]:.2f}x the memory of 4")


if __name__ == "__main__":
    main()
