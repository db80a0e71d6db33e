"""A training step of a 1B-class model on one GPU: tokens per second, model FLOPs utilisation (MFU), peak memory.

    python benchmarks/gpu.py                 # 1.1B parameters, bf16, T=2048, V=32000; less than 8 minutes
    python benchmarks/gpu.py --compile       # decoder blocks compiled

One head (next-token prediction), the same layers in each:

- `ntp`: wmtp's step, clipping and optimizer.
- `titan`: as torchtitan does it: transformers' Llama under FSDP2, a unit a block, bfloat16 parameters, recomputed blocks, whole
  logits.
- `bare`: as TRL's SFTTrainer does it: transformers' Llama as it is, autocast, its own gradient checkpointing and its own loss.

Four heads:

- `baseline`, `rho1`: wmtp's step.
- `materialised`: a bare loop over the same model, with logits of all heads in memory and cross-entropy on them.

Every variant is a process of its own, in which batches double until memory is full or its share of the time is over (compiled,
which every size takes time for: from 8, fourfold). The table shows each at the largest batch that all of its group hold, and at
its own largest. MFU: as in every training row
(`wmtp.models.flops`), over the GPU's dense bf16 peak (`wmtp.config.accelerators`); recomputation does not count. Without a GPU
the script runs at toy size, to show that it works; those numbers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

ONE_HEAD, FOUR_HEADS = ("ntp", "titan", "bare"), ("baseline", "rho1", "materialised")
STEPS, LEAST_STEPS, WARMUP = 8, 3, 2
BATCH_S = 5.0
"""A batch size's steps end after so many seconds, if there were `LEAST_STEPS`."""

Step = Callable[[int], Any]
"""Forward and backward passes of the step of that number."""


@dataclass(frozen=True)
class Size:
    """What is trained: the model's shape, rows of so many tokens, and the most rows of a batch."""

    shape: dict[str, int]
    length: int
    vocab: int
    largest_batch: int


REAL = Size({"hidden_size": 2048, "intermediate_size": 5632, "n_layers": 22, "n_heads": 16, "n_kv_heads": 16}, 2048, 32000, 32)
TOY = Size({"hidden_size": 64, "intermediate_size": 128, "n_layers": 5, "n_heads": 4, "n_kv_heads": 4}, 64, 512, 2)


def measure(world: Any, variant: str, size: Size, *, compiled: bool, deadline: float) -> Iterator[dict[str, float]]:
    """A row for each batch size, until one does not fit or the time (of `time.monotonic`) is over."""
    import torch
    from torch.optim import AdamW

    on_gpu = world.device.type == "cuda"
    model, make_step = (
        _plain(world, variant, size, compiled) if variant in ("titan", "bare") else _ours(world, variant, size, compiled)
    )
    optimizer = AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), fused=True)
    batch_size, growth = (min(8, size.largest_batch), 4) if compiled else (1, 2)
    while batch_size <= size.largest_batch and time.monotonic() < deadline:
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        try:
            seconds = _seconds(make_step(torch.randint(2, size.vocab, (batch_size, size.length))), model, optimizer, on_gpu)
        except torch.cuda.OutOfMemoryError:
            return
        peak = torch.cuda.max_memory_allocated() if on_gpu else 0
        flops = _flops(variant, size, batch_size)
        tokens = batch_size * size.length
        yield {
            "batch": batch_size,
            "tokens_per_s": tokens / seconds,
            "flops_per_s": flops / seconds,
            "peak_bytes": float(peak),
        }
        batch_size *= growth


def _seconds(run: Step, model: Any, optimizer: Any, on_gpu: bool) -> float:
    """Of one step, on average."""
    import torch

    def step(number: int) -> None:
        run(number)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def waited() -> float:
        if on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    for number in range(WARMUP):
        step(number)
    began, done = waited(), 0
    while done < LEAST_STEPS or (done < STEPS and time.perf_counter() - began < BATCH_S):
        step(WARMUP + done)
        done += 1
    return (waited() - began) / done


def _num_heads(variant: str) -> int:
    return 1 if variant in ONE_HEAD else 4


def _flops(variant: str, size: Size, batch_size: int) -> float:
    """Of one step: the same whoever takes it."""
    import numpy as np

    from wmtp.config.training import ModelConfig
    from wmtp.models.flops import model_flops
    from wmtp.models.skeleton import skeleton

    heads = _num_heads(variant)
    model = skeleton(
        ModelConfig(**size.shape, n_future=heads), vocab_size=size.vocab, max_length=size.length, n_future=heads, folder=None
    )
    targets = sum(batch_size * (size.length - 1 - h) for h in range(heads))
    return float(model_flops(model).of_documents(np.full(batch_size, size.length), targets))


def _ours(world: Any, variant: str, size: Size, compiled: bool) -> tuple[Any, Callable[[Any], Step]]:
    """wmtp's model as a training stage has it, and its step or the bare loop over it."""
    from torch.distributed.fsdp import register_fsdp_forward_method

    from wmtp.config.training import ModelConfig
    from wmtp.models.build import build_model, parallelize

    with world.device:  # drawn there: a stage draws on the CPU, the same numbers for every device, and takes its time
        model = build_model(
            ModelConfig(**size.shape, n_future=_num_heads(variant)),
            vocab_size=size.vocab,
            max_length=size.length,
            pad_token_id=0,
            eos_token_id=1,
            seed=0,
        )
    sharded = parallelize(
        model,
        world.mesh,
        dtype="bfloat16" if world.device.type == "cuda" else "float32",
        activation_checkpointing=True,
        compile_backend="inductor" if compiled else None,
    )
    if variant == "materialised":
        register_fsdp_forward_method(sharded, "head_logits")
        return sharded, lambda ids: _materialised(sharded, ids.to(world.device))
    return sharded, lambda ids: _step(variant, world, sharded, ids)


def _step(variant: str, world: Any, model: Any, ids: Any) -> Step:
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


def _materialised(model: Any, ids: Any) -> Step:
    from torch.nn.functional import cross_entropy

    from wmtp.objectives import shift_labels

    labels_BTH = shift_labels(ids, model.config.n_future)

    def run(number: int) -> None:
        logits = model.head_logits(ids)
        losses = [cross_entropy(part.flatten(0, 1).float(), labels_BTH[..., h].flatten()) for h, part in enumerate(logits)]
        (sum(losses) / len(losses)).backward()

    return run


def _plain(world: Any, variant: str, size: Size, compiled: bool) -> tuple[Any, Callable[[Any], Step]]:
    """transformers' own Llama of the same shape, under FSDP2 or as it is."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size.vocab,
        hidden_size=size.shape["hidden_size"],
        intermediate_size=size.shape["intermediate_size"],
        num_hidden_layers=size.shape["n_layers"],
        num_attention_heads=size.shape["n_heads"],
        num_key_value_heads=size.shape["n_kv_heads"],
        max_position_embeddings=size.length,
        tie_word_embeddings=True,
        use_cache=False,
    )
    with world.device:
        model = LlamaForCausalLM(config).train()
    return _titan(world, model, compiled) if variant == "titan" else _bare(world, model, compiled)


def _titan(world: Any, model: Any, compiled: bool) -> tuple[Any, Callable[[Any], Step]]:
    import torch
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    narrow = torch.bfloat16 if world.device.type == "cuda" else torch.float32
    keep: Any = {"mesh": world.mesh, "mp_policy": MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=torch.float32)}
    layers = model.model.layers
    for place, layer in enumerate(layers):
        wrapped = checkpoint_wrapper(layer)
        if compiled:
            wrapped.compile(backend="inductor")
        layers[place] = fully_shard(wrapped, **keep)
    fully_shard(model, **keep)

    def make(ids: Any) -> Step:
        there = ids.to(world.device)

        def run(number: int) -> None:
            logits = model(input_ids=there[:, :-1]).logits
            torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), there[:, 1:].flatten()).backward()

        return run

    return model, make


def _bare(world: Any, model: Any, compiled: bool) -> tuple[Any, Callable[[Any], Step]]:
    import torch

    model.gradient_checkpointing_enable({"use_reentrant": False})
    for layer in model.model.layers if compiled else ():
        layer.compile(backend="inductor")
    on_gpu = world.device.type == "cuda"

    def make(ids: Any) -> Step:
        there = ids.to(world.device)

        def run(number: int) -> None:
            with torch.autocast(world.device.type, torch.bfloat16, enabled=on_gpu):
                loss = model(input_ids=there, labels=there).loss
            loss.backward()

        return run

    return model, make


# --------------------------------------------------------------------------------------- the table


def _case(variant: str, compiled: bool, seconds: float) -> list[dict[str, float]]:
    """A variant's rows, of a process that has so many seconds."""
    command = [sys.executable, __file__, "--variant", variant, "--seconds", str(seconds), *(["--compile"] * compiled)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=seconds + 20, check=False)
        text = done.stdout
        if done.returncode != 0:
            print(f"{variant} failed with exit code {done.returncode}", file=sys.stderr)
    except subprocess.TimeoutExpired as late:
        text = late.stdout or b""
    return [json.loads(line) for line in text.decode().splitlines() if line.startswith("{")]


def table(found: dict[str, list[dict[str, float]]], peak: float | None) -> list[str]:
    """Lines of markdown. `peak`: of the device, FLOP/s."""
    lines = ["| variant | heads | batch | tokens/s | MFU | peak memory, GiB |", "| --- | --- | --- | --- | --- | --- |"]
    for group in (ONE_HEAD, FOUR_HEADS):
        there = [variant for variant in group if found.get(variant)]
        common = min((found[variant][-1]["batch"] for variant in there), default=0)
        for variant in there:
            for row in found[variant]:
                if row["batch"] in (common, found[variant][-1]["batch"]):
                    mfu = f"{row['flops_per_s'] / peak:.1%}" if peak else "-"
                    memory = f"{row['peak_bytes'] / 2**30:.1f}" if row["peak_bytes"] else "-"
                    heads, tokens = _num_heads(variant), f"{row['tokens_per_s']:,.0f}"
                    lines.append(f"| {variant} | {heads} | {row['batch']:.0f} | {tokens} | {mfu} | {memory} |")
        lines += [f"| {variant} | {_num_heads(variant)} | did not run | | | |" for variant in group if not found.get(variant)]
    return lines


def _child(variant: str, compiled: bool, seconds: float) -> None:
    """One variant's rows, one a line."""
    deadline = time.monotonic() + seconds
    import torch

    from wmtp.distributed import join_world

    with join_world("auto", seed=0) as world:
        size = REAL if torch.cuda.is_available() else TOY
        for row in measure(world, variant, size, compiled=compiled, deadline=deadline):
            print(json.dumps(row), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="compile the decoder blocks")
    parser.add_argument("--minutes", type=float, default=7.5, help="all together")
    parser.add_argument("--variant", choices=(*ONE_HEAD, *FOUR_HEADS), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.variant:
        _child(given.variant, given.compile, given.seconds)
        return
    import torch

    from wmtp.config.accelerators import known

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU (toy size)"
    device, end = known(name), time.monotonic() + 60 * given.minutes
    found: dict[str, list[dict[str, float]]] = {}
    variants = (*ONE_HEAD, *FOUR_HEADS)
    for done, variant in enumerate(variants):
        found[variant] = _case(variant, given.compile, (end - time.monotonic()) / (len(variants) - done) - 20)
    print(f"{name}, torch {torch.__version__}, blocks {'compiled' if given.compile else 'not compiled'}\n")
    print("\n".join(table(found, None if device is None else device.flops["bfloat16"])))


if __name__ == "__main__":
    main()
