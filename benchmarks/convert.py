"""Peak memory while Meta's multi-token checkpoints are converted, there and back.

    python benchmarks/convert.py                   # 0.35B parameters with four heads in bf16: one file, and two parts
    python benchmarks/convert.py --width 2048      # others

A checkpoint of random numbers is written first. Each direction is a process of its own; what it needs above what it held
after its imports is its peak of resident memory, pages of the files that it maps included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from load import MIB, peak

LAYERS, HEADS, VOCAB, FUTURE = 16, 16, 32000, 4


def shapes_of(width: int) -> dict[str, tuple[int, ...]]:
    """Of Meta's tensors: a Llama of `LAYERS` layers, of which `FUTURE` are heads."""
    inner = width * 8 // 3 // 64 * 64
    square, up, down = (width, width), (inner, width), (width, inner)
    block = {f"attention.w{key}": square for key in "qkvo"} | {
        "feed_forward.w1": up,
        "feed_forward.w2": down,
        "feed_forward.w3": up,
    }
    block |= {"attention_norm": (width,), "ffn_norm": (width,)}
    places = [f"layers.{n}" for n in range(LAYERS - FUTURE + 1)] + [f"extra_heads.{n}" for n in range(FUTURE - 1)]
    found = {f"{place}.{name}.weight": shape for place in places for name, shape in block.items()}
    return {"tok_embeddings.weight": (VOCAB, width), "output.weight": (VOCAB, width), "norm.weight": (width,), **found}


def write_meta(folder: Path, width: int, parts: int) -> None:
    """Random numbers in `parts` files; matrices are cut along what they put out, or, where Meta does, take in."""
    import torch

    from wmtp.models.checkpoint_file import write_checkpoint

    folder.mkdir()
    settings = {"dim": width, "n_layers": LAYERS, "n_heads": HEADS, "vocab_size": VOCAB, "n_future_tokens": FUTURE}
    (folder / "params.json").write_text(json.dumps(settings | {"norm_eps": 1e-5, "multiple_of": 64, "rope_theta": 1e4}))
    cut = {}
    for name, shape in shapes_of(width).items():
        along = int(name.split(".")[-2] in ("wo", "w2", "tok_embeddings"))
        sizes = [size // parts if dim == along and len(shape) == 2 else size for dim, size in enumerate(shape)]
        cut[name] = torch.Size(sizes)
    for part in range(parts):
        path = folder / ("consolidated.pth" if parts == 1 else f"consolidated.{part:02d}.pth")
        generator = torch.Generator().manual_seed(0)  # what is not cut is the same in every part
        draw = partial(torch.randn, generator=generator, dtype=torch.bfloat16)
        write_checkpoint(path, cut, torch.bfloat16, lambda name, draw=draw: draw(cut[name]))


def convert(direction: str, source: Path, target: Path) -> None:
    """What a process needs for it, on its standard output."""
    import psutil
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401 -- transformers imports families when they are asked for

    from wmtp.models.convert import from_meta, to_meta

    torch.set_num_threads(1)
    found: dict[str, float] = {}
    run = from_meta if direction == "meta-mtp" else to_meta
    with peak(found, "peak", psutil.Process().memory_info().rss):
        run(source, target, tokenizer=False)
    print(json.dumps(found))


def measure(direction: str, source: Path, target: Path) -> dict[str, float]:
    """Its peak and seconds, and the largest file that it reads and that it writes, MiB."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, "--convert", direction, str(source), str(target)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    sizes = {
        f"{key}": max(path.stat().st_size for path in folder.iterdir()) / MIB
        for key, folder in (("reads", source), ("writes", target))
    }
    return json.loads(done.stdout.splitlines()[-1]) | sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--convert", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.convert:
        direction, source, target = arguments.convert
        convert(direction, Path(source), Path(target))
        return
    print("MiB: the largest file read and written, the peak above the imports, and its share of the larger of the two")
    print(f"{'':>24} {'reads':>7} {'writes':>7} {'peak':>7} {'share':>6} {'s':>5}")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for parts in (1, 2):
            write_meta(root / f"meta{parts}", arguments.width, parts)
            steps = [("meta-mtp", root / f"meta{parts}", root / f"hf{parts}")]
            steps += [("to-meta-mtp", root / "hf1", root / "back")] if parts == 1 else []
            for direction, source, target in steps:
                row = measure(direction, source, target)
                what = f"{direction}, {parts} part{'s' * (parts > 1)}"
                sizes = f"{row['reads']:>7.0f} {row['writes']:>7.0f} {row['peak']:>7.0f}"
                print(f"{what:>24} {sizes} {row['peak'] / max(row['reads'], row['writes']):>6.2f} {row['peak_s']:>5.0f}")


if __name__ == "__main__":
    main()
