"""Tokens per second of a policy step, side by side on one CPU thread, and what the engine costs besides.

    python benchmarks/train_step.py

- `wmtp`: the training loop as the stages run it (length-bucketed batches, no logits, metrics, gates). Its forward, backward,
  clipping and optimizer calls are timed one by one; what remains of a step is the engine's.
- `bare loop`: a plain PyTorch loop over the same model, materialised logits of every head, batches padded as they come.
- `Trainer`: transformers' Trainer on a model of as many layers with one head.

Every variant is a process of its own, sees examples of the same lengths (like MBPP's: 100 tokens on average, long-tailed),
and takes the same steps. GEMM peak: the best of a few large float32 matmuls in the same process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

BATCH, STEPS, WARMUP, ROWS = 32, 6, 2, 1024
MODEL = {"hidden_size": 256, "intermediate_size": 768, "n_layers": 8, "n_heads": 8, "n_kv_heads": 8}
VOCAB, HEADS, MAX_LENGTH = 8000, 4, 384
VARIANTS = ("wmtp", "bare loop", "Trainer")


def make_data(folder: Path):
    """A table of random tokens with MBPP-like lengths."""
    import pyarrow as pa

    from wmtp.tokens.data import TokenData
    from wmtp.tokens.tables import large_list, write_table

    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(4.45, 0.55, ROWS), 20, MAX_LENGTH).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    columns = {
        "problem_id": [f"p{i}" for i in range(ROWS)],
        "input_ids": large_list(generator.integers(2, VOCAB, offsets[-1], dtype=np.int32), offsets),
        "prompt_len": pa.array((lengths // 3).astype(np.int32)),
        "is_correct": np.ones(ROWS, dtype=bool),
    }
    write_table(folder / "train.arrow", pa.table(columns))
    meta = {
        "vocab_size": VOCAB,
        "largest_token_id": VOCAB - 1,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "max_length": MAX_LENGTH,
        "is_ordered": False,
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    return TokenData.open(folder, "train")


def build(n_future: int):
    from wmtp.config.training import ModelConfig
    from wmtp.models.build import build_model

    config = ModelConfig(**MODEL, n_future=n_future)
    return build_model(config, vocab_size=VOCAB, max_length=MAX_LENGTH, pad_token_id=0, eos_token_id=1, seed=0)


class Result(NamedTuple):
    """Of the steps after the warm-up: wall time, tokens with and without padding, wall time of the mathematics if measured."""

    seconds: float
    computed: int
    real: int
    mathematics: float = 0.0


class Clock:
    """Adds up the wall time of the functions that it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function):
        def timed(*arguments, **named):
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def run_wmtp(folder: Path) -> Result:
    import torch

    from wmtp.checkpoint import Checkpointer
    from wmtp.config.runtime import RuntimeConfig
    from wmtp.config.training import OptimConfig, TrainConfig
    from wmtp.distributed import join_world
    from wmtp.models.build import parallelize
    from wmtp.tokens.loader import TrainLoader
    from wmtp.training.loop import train
    from wmtp.training.steps import UNIFORM_ARM, LanguageModelStep

    data = make_data(folder)
    steps = STEPS + WARMUP
    with join_world("cpu", seed=0) as world:
        sharded = parallelize(build(HEADS), world.mesh, dtype="float32", activation_checkpointing=False)
        clock = Clock()
        step = LanguageModelStep(world, clock.wrap(sharded), UNIFORM_ARM, HEADS, num_steps=1)
        for owner, name in ((torch.Tensor, "backward"), (torch.nn.utils, "clip_grad_norm_"), (torch.optim.AdamW, "step")):
            setattr(owner, name, clock.wrap(getattr(owner, name)))
        began: list[tuple[float, float]] = []

        def timed(batches, number):
            began.append((time.perf_counter(), clock.seconds))
            return step(batches, number)

        loader = TrainLoader(data, batch_size=BATCH, seed=0)
        train(
            world=world,
            model=sharded,
            step_function=timed,
            loader=loader,
            config=TrainConfig(steps=steps, eval_interval=steps, global_batch_size=BATCH, micro_batch_size=BATCH),
            runtime=RuntimeConfig(checkpoint_interval=10**6),
            optim=OptimConfig(name="adamw"),
            checkpointer=Checkpointer(folder / "resume", world),
            validate=dict,
            objective="",
            on_row=lambda row: None,
            seed=0,
        )
        started, before = began[WARMUP]
        seconds = time.perf_counter() - started
        tokens = _num_tokens([batch for number in range(STEPS + WARMUP) for batch in loader.micro_batches(number)])
        return Result(seconds, *tokens, clock.seconds - before)


def _plain_batches(folder: Path):
    data = make_data(folder)
    order = np.random.default_rng(0).permutation(ROWS)
    return [data.collate(order[i * BATCH : (i + 1) * BATCH], range(BATCH)) for i in range(STEPS + WARMUP)]


def run_bare_loop(folder: Path) -> Result:
    import torch
    from torch.nn.functional import cross_entropy

    from wmtp.objectives import shift_labels

    batches, model = _plain_batches(folder), build(HEADS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step(batch) -> None:
        labels_BTH = shift_labels(batch.labels_BT, HEADS)
        logits_BTHV = torch.stack(model.head_logits(batch.input_ids), dim=2)
        cross_entropy(logits_BTHV.flatten(0, 2), labels_BTH.flatten(), ignore_index=-100).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return Result(_timed(step, batches), *_num_tokens(batches))


def _num_tokens(batches) -> tuple[int, int]:
    """With padding and without."""
    measured = batches[WARMUP:]
    return sum(batch.input_ids.numel() for batch in measured), sum(int(batch.lengths_B.sum()) for batch in measured)


def _timed(step, batches) -> float:
    for batch in batches[:WARMUP]:
        step(batch)
    started = time.perf_counter()
    for batch in batches[WARMUP:]:
        step(batch)
    return time.perf_counter() - started


def run_trainer(folder: Path) -> Result:
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    batches = _plain_batches(folder)
    shape = {"num_attention_heads": MODEL["n_heads"], "num_hidden_layers": MODEL["n_layers"], "tie_word_embeddings": True}
    sizes = {key: MODEL[key] for key in ("hidden_size", "intermediate_size")}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, **sizes, **shape))
    began: list[float] = []

    class StepBegins(TrainerCallback):
        def on_step_begin(self, *arguments, **named) -> None:
            began.append(time.perf_counter())

    def collate(parts):
        (batch,) = parts
        return {"input_ids": batch.input_ids, "labels": batch.labels_BT, "attention_mask": (batch.input_ids != 0).long()}

    quiet = {"report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True, "use_cpu": True}
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=STEPS + WARMUP, per_device_train_batch_size=1, remove_unused_columns=False, **quiet
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=batches, data_collator=collate, callbacks=[StepBegins()])
    trainer.train()
    return Result(time.perf_counter() - began[WARMUP], *_num_tokens(batches))


def gemm_peak() -> float:
    """GFLOP/s of a large float32 matmul."""
    import torch

    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    best = min(_once(lambda: a @ b) for _ in range(8))
    return 2 * 1024**3 / best / 1e9


def _once(run) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def flops_per_token(n_future: int) -> float:
    """Matmul FLOPs of forward and backward per real token: 6 per weight, the unembedding once per head on two thirds of
    the tokens (the others are prompt)."""
    block = 4 * MODEL["hidden_size"] ** 2 + 3 * MODEL["hidden_size"] * MODEL["intermediate_size"]
    return 6.0 * (MODEL["n_layers"] * block + n_future * MODEL["hidden_size"] * VOCAB * 2 / 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, help="each variant this many times, in turn; medians are shown")
    arguments = parser.parse_args()
    if arguments.variant:
        import torch

        torch.set_num_threads(1)
        run = globals()[f"run_{arguments.variant.replace(' ', '_').lower()}"]
        with tempfile.TemporaryDirectory() as folder:
            result: Result = run(Path(folder))
        print(json.dumps({**result._asdict(), "peak": gemm_peak()}))
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    environment |= {"MALLOC_MMAP_THRESHOLD_": str(2**28), "MALLOC_TRIM_THRESHOLD_": str(2**28)}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for _ in range(arguments.rounds):
        for name in VARIANTS:
            command = [sys.executable, __file__, "--variant", name]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    print("| | tokens/s | real tokens/s | against bare loop | of GEMM peak |")
    print("| --- | --- | --- | --- | --- |")
    speeds = {
        kind: {name: float(np.median([one[kind] / one["seconds"] for one in runs])) for name, runs in found.items()}
        for kind in ("computed", "real")
    }
    for name in VARIANTS:
        computed, real = speeds["computed"][name], speeds["real"][name]
        peak = max(one["peak"] for one in found[name]) * 1e9
        share = real * flops_per_token(1 if name == "Trainer" else HEADS) / peak
        print(f"| {name} | {computed:,.0f} | {real:,.0f} | {real / speeds['real']['bare loop']:.2f}x | {share:.0%} |")
    outside = float(np.median([1 - one["mathematics"] / one["seconds"] for one in found["wmtp"]]))
    print(f"engine outside forward, backward, clipping and optimizer: {outside:.1%} of a step")


if __name__ == "__main__":
    main()
