"""A policy step of a 1B-class model on one GPU: tokens per second, model FLOPs utilisation (MFU), peak memory.

    python benchmarks/gpu.py                 # 1.1B parameters, bf16, T=2048, H=4, V=32000
    python benchmarks/gpu.py --compile

- `baseline`, `rho1`: wmtp's step (loss of every head by `linear_nll`, activation checkpointing), clipping and optimizer.
- `materialised`: the same model and optimizer with logits of all heads in memory and cross-entropy on them.

Every case is a process of its own. Batches double until memory is full; the table shows each variant at the largest batch that
the materialised one can hold, and at its own largest. MFU: as in every training row (`wmtp.models.flops`), over the GPU's
dense bf16 peak (`wmtp.config.accelerators`); recomputation does not count.
Without a GPU the script runs at toy size, to show that it works; those numbers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

VARIANTS = ("baseline", "rho1", "materialised")
REAL = {"hidden_size": 2048, "intermediate_size": 5632, "n_layers": 22, "n_heads": 16, "n_kv_heads": 16, "n_future": 4}
TOY = {"hidden_size": 64, "intermediate_size": 128, "n_layers": 5, "n_heads": 4, "n_kv_heads": 4, "n_future": 4}
LARGEST_BATCH, STEPS, WARMUP = 64, 8, 3
FULL = 86
"""Exit code of a case that did not fit."""


def measure(variant: str, batch_size: int, compiled: bool) -> dict[str, float]:
    import numpy as np
    import torch

    from wmtp.config.training import ModelConfig, OptimConfig
    from wmtp.distributed import join_world
    from wmtp.models.build import build_model, parallelize
    from wmtp.models.flops import model_flops
    from wmtp.training.optim import build_optimizers

    on_gpu = torch.cuda.is_available()
    shape, length, vocab = (REAL, 2048, 32000) if on_gpu else (TOY, 64, 512)
    with join_world("auto", seed=0) as world:
        model = build_model(ModelConfig(**shape), vocab_size=vocab, max_length=length, pad_token_id=0, eos_token_id=1, seed=0)
        sharded = parallelize(
            model,
            world.mesh,
            dtype="bfloat16" if on_gpu else "float32",
            activation_checkpointing=True,
            compile_backend="inductor" if compiled else None,
        )
        optimizers = build_optimizers(sharded, OptimConfig(name="adamw"))
        ids = torch.randint(2, vocab, (batch_size, length))
        run = _materialised(sharded, ids.to(world.device)) if variant == "materialised" else _step(variant, world, sharded, ids)
        began = 0.0
        for number in range(WARMUP + STEPS):
            if number == WARMUP:
                _wait(on_gpu)
                began = time.perf_counter()
            run(number)
            torch.nn.utils.clip_grad_norm_(sharded.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        _wait(on_gpu)
        seconds = (time.perf_counter() - began) / STEPS
        peak = torch.cuda.max_memory_allocated() if on_gpu else 0
    tokens = batch_size * length
    lengths = np.full(batch_size, length)
    targets = sum(batch_size * (length - 1 - h) for h in range(model.config.n_future))
    flops = model_flops(sharded).of_documents(lengths, targets)
    return {"tokens_per_s": tokens / seconds, "flops_per_s": flops / seconds, "peak_bytes": float(peak)}


def _wait(on_gpu: bool) -> None:
    import torch

    if on_gpu:
        torch.cuda.synchronize()


def _step(variant: str, world: Any, model: Any, ids: Any) -> Any:
    import torch

    from wmtp.config.arms import load_arm
    from wmtp.tokens.data import Batch
    from wmtp.training.steps import LanguageModelStep

    weighting = {"name": "rho1", "keep_frac": 0.6} if variant == "rho1" else {"name": "uniform"}
    step = LanguageModelStep(world, model, load_arm({"weighting": weighting}, variant), model.config.n_future, num_steps=1)
    whole = torch.full((len(ids),), ids.shape[1])
    columns = {"reference_nll": torch.rand(ids.shape) * 10} if variant == "rho1" else {}
    batch = Batch(
        ids, ids.clone(), torch.zeros_like(whole), whole, torch.ones(len(ids)), whole, torch.arange(len(ids)), columns
    )
    return lambda number: step([batch], number)


def _materialised(model: Any, ids: Any) -> Any:
    from torch.distributed.fsdp import register_fsdp_forward_method
    from torch.nn.functional import cross_entropy

    from wmtp.objectives import shift_labels

    register_fsdp_forward_method(model, "head_logits")
    labels_BTH = shift_labels(ids, model.config.n_future)

    def run(number: int) -> None:
        logits = model.head_logits(ids)
        losses = [cross_entropy(part.flatten(0, 1).float(), labels_BTH[..., h].flatten()) for h, part in enumerate(logits)]
        (sum(losses) / len(losses)).backward()

    return run


def _case(variant: str, batch_size: int, compiled: bool) -> dict[str, float] | None:
    """None when it does not fit."""
    command = [sys.executable, __file__, "--variant", variant, "--batch-size", str(batch_size)]
    done = subprocess.run(command + ["--compile"] * compiled, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == FULL:
        return None
    if done.returncode != 0:
        sys.exit(f"{variant} at batch {batch_size} failed with exit code {done.returncode}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="compile the decoder blocks")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--batch-size", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    import torch

    from wmtp.config.accelerators import known

    if arguments.variant:
        try:
            print(json.dumps(measure(arguments.variant, arguments.batch_size, arguments.compile)))
        except torch.cuda.OutOfMemoryError:
            sys.exit(FULL)
        return
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU (toy size)"
    device = known(name)
    peak = None if device is None else device.flops["bfloat16"]
    largest, found = LARGEST_BATCH if torch.cuda.is_available() else 2, {}
    for variant in VARIANTS:
        batch_size: int = 1
        while batch_size <= largest and (result := _case(variant, batch_size, arguments.compile)) is not None:
            found[variant, batch_size] = result
            batch_size *= 2
    most = {variant: max((size for one, size in found if one == variant), default=0) for variant in VARIANTS}
    print(f"{name}, torch {torch.__version__}, blocks {'compiled' if arguments.compile else 'not compiled'}\n")
    print("| variant | batch | tokens/s | MFU | peak memory, GiB |")
    print("| --- | --- | --- | --- | --- |")
    for variant in VARIANTS:
        for batch_size in sorted({most["materialised"], most[variant]} - {0}):
            one = found[variant, batch_size]
            mfu = f"{one['flops_per_s'] / peak:.1%}" if peak else "-"
            print(f"| {variant} | {batch_size} | {one['tokens_per_s']:,.0f} | {mfu} | {one['peak_bytes'] / 2**30:.1f} |")
    sizes = ", ".join(f"{variant} {size}" for variant, size in most.items())
    print(f"\nlargest batches: {sizes} (none above {largest} was tried)")


if __name__ == "__main__":
    main()
