"""Peak memory per rank while a pretrained bf16 model is loaded, sharded and saved.

    python benchmarks/load.py                     # 1.1B parameters (TinyLlama's shape) on 2 gloo ranks
    python benchmarks/load.py --sizes 0.1,0.3     # other sizes, in billions of parameters, for the slopes alone

A folder of random bf16 weights is written first, shard by shard. Each rank is a process of its own; what it needs above what
it held after its imports is its peak of resident memory, pages of the files that it maps included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHAPES = {
    0.1: {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 11},
    0.3: {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 20},
    1.1: {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22},
}
VOCAB, HEAD_DIM, MIB = 32000, 64, 2**20
TARGET, SLACK_MIB = 0.65, 300
LARGE = 6.74e9


def write_model(folder: Path, shape: dict[str, int]) -> int:
    """Random weights in bf16, as a pretrained model's folder; its number of parameters."""
    import torch
    from accelerate import init_empty_weights
    from transformers import LlamaConfig, LlamaForCausalLM

    from wmtp.models.shards import write_shards

    heads = shape["hidden_size"] // HEAD_DIM
    config = LlamaConfig(vocab_size=VOCAB, num_attention_heads=heads, num_key_value_heads=heads // 4, **shape)
    config.architectures, config.dtype = ["LlamaForCausalLM"], torch.bfloat16
    with init_empty_weights():
        shapes = {name: tensor.shape for name, tensor in LlamaForCausalLM(config).state_dict().items()}
    write_shards(
        folder,
        shapes,
        torch.bfloat16,
        lambda names: {name: torch.randn(shapes[name], dtype=torch.bfloat16) * 0.02 for name in names},
        shard_bytes=2**28,
    )
    config.save_pretrained(folder)
    return sum(size.numel() for size in shapes.values())


@contextmanager
def peak(found: dict[str, float], name: str, base: int) -> Iterator[None]:
    """The largest resident memory meanwhile, MiB above `base`."""
    import psutil

    process, done, most = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not done.is_set():
            most[0] = max(most[0], process.memory_info().rss)
            time.sleep(0.002)

    thread, start = threading.Thread(target=watch), time.monotonic()
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    found[name] = (max(most[0], process.memory_info().rss) - base) / MIB
    found[f"{name}_s"] = time.monotonic() - start


def rank(folder: Path, out: Path) -> None:
    """Load, shard, prove and save, as a training stage does."""
    import psutil
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401 -- transformers imports families when they are asked for

    from wmtp.config.training import ModelConfig
    from wmtp.distributed import join_world
    from wmtp.models.build import build_model, parallelize
    from wmtp.models.save import write_language_model

    torch.set_num_threads(1)
    config, found = ModelConfig(pretrained=str(folder), n_future=1, n_layers=1), {}
    with join_world("cpu", seed=0) as world:
        base = psutil.Process().memory_info().rss
        with peak(found, "load", base):
            model = build_model(config, vocab_size=VOCAB, max_length=64, pad_token_id=0, eos_token_id=1, seed=0)
            sharded = parallelize(model, world.mesh, dtype="float32", activation_checkpointing=False)
        found["held"] = (psutil.Process().memory_info().rss - base) / MIB
        if world.is_main:
            (out / "saved").mkdir()
        world.barrier()
        with peak(found, "save", base):
            write_language_model(sharded, out / "saved", is_main=world.is_main)
        world.barrier()
    (out / f"rank{world.rank}.json").write_text(json.dumps(found))


def measure(billions: float, num_ranks: int) -> dict[str, float]:
    """The worst rank's numbers, MiB, for a model of this size."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch) / "model", Path(scratch) / "out"
        folder.mkdir()
        out.mkdir()
        parameters = write_model(folder, SHAPES[billions])
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
        command = [sys.executable, *launcher, __file__, "--rank", str(folder), str(out)]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        parts = [json.loads((out / f"rank{number}.json").read_text()) for number in range(num_ranks)]
    return {key: max(part[key] for part in parts) for key in parts[0]} | {"float32": parameters * 4 / MIB}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="0.3,1.1", help=f"of {', '.join(map(str, SHAPES))}, with commas between them")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rank", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank:
        rank(*arguments.rank)
        return
    sizes, ranks = [float(size) for size in arguments.sizes.split(",")], arguments.ranks
    rows = []
    print(f"peak MiB of a rank above its imports, {ranks} gloo ranks, bf16 files, float32 parameters")
    heads = ("size", "float32", "load", "held", "save", "load/fp32", "allowed", "load s", "save s")
    print(" ".join(f"{head:>9}" for head in heads))
    for size in sizes:
        row = measure(size, ranks)
        rows.append(row)
        allowed = TARGET * row["float32"] + SLACK_MIB
        numbers = [row["float32"], row["load"], row["held"], row["save"], row["load"] / row["float32"], allowed]
        cells = [f"{size:>8}B", *(f"{number:>9.4g}" for number in (*numbers, row["load_s"], row["save_s"]))]
        print(" ".join(cells), flush=True)
    if len(rows) > 1:
        report_large(rows, ranks)


def report_large(rows: list[dict[str, float]], ranks: int) -> None:
    """What 6.7B parameters need on 8 ranks: each rank's share of the parameters, and what grows beside it with the size."""
    first, last = rows[0], rows[-1]
    large = LARGE * 4 / MIB
    print(f"from these slopes, {LARGE / 1e9:.1f}B parameters on 8 ranks:")
    for name in ("load", "save"):
        slope = (last[name] - first[name]) / (last["float32"] - first["float32"])
        beside = max(slope - 1 / ranks, 0.0)
        fixed = last[name] - slope * last["float32"]
        each = fixed + large * (1 / 8 + beside)
        amounts = f"{each / 1024:.1f} GiB a rank, {8 * each / 1024:.0f} GiB a host"
        print(f"{name}: {slope:.2f} MiB per MiB of float32 on {ranks} ranks, so {amounts}")


if __name__ == "__main__":
    main()
