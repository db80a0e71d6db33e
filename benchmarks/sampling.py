"""Nucleus sampling against a sort of the whole vocabulary: CPU milliseconds a row, by the shape of the distribution.

    python benchmarks/sampling.py
    python benchmarks/sampling.py --vocab 151936 --rows 8

Both take turns in one process with one thread; the best of five each. The tokens must be the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from wmtp.evaluation.nucleus import sample_top_p

SPREADS = {"a trained model's": 6.0, "wider": 3.0, "nearly flat": 0.3, "all the same": 0.0}
"""Standard deviations of the logits."""


def by_sorting(logits_RV: torch.Tensor, uniforms_R: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """The same tokens: all of them sorted, most probable first."""
    sorted_RV, tokens_RV = (logits_RV.double() / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    cumulative_RV = sorted_RV.cumsum(dim=-1)
    last_R = (cumulative_RV - sorted_RV < top_p).sum(dim=-1, keepdim=True) - 1
    drawn_R = uniforms_R.unsqueeze(1) * cumulative_RV.gather(1, last_R)
    place_R = torch.minimum((cumulative_RV <= drawn_R).sum(dim=-1, keepdim=True), last_R)
    return tokens_RV.gather(1, place_R).squeeze(1)


def seconds(run: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    """Of the process's own time, and what came of it."""
    began = time.process_time()
    found = run()
    return time.process_time() - began, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=49152)
    parser.add_argument("--rows", type=int, default=24)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    print(f"{arguments.rows} rows of {arguments.vocab} logits at temperature 0.8, ms a row")
    print(f"{'logits':>18} {'top_p':>6} {'sorted':>7} {'here':>6} {'ratio':>6}")
    for name, spread in SPREADS.items():
        for top_p in (0.95, 1.0):
            logits_RV = torch.randn(arguments.rows, arguments.vocab, generator=generator) * spread
            uniforms_R = torch.rand(arguments.rows, generator=generator, dtype=torch.float64)
            given = (logits_RV, uniforms_R, 0.8, top_p)
            turns = [(seconds(lambda g=given: by_sorting(*g)), seconds(lambda g=given: sample_top_p(*g))) for _ in range(5)]
            assert all(torch.equal(theirs, ours) for (_, theirs), (_, ours) in turns)
            theirs, ours = (min(turn[i][0] for turn in turns) / arguments.rows * 1e3 for i in range(2))
            print(f"{name:>18} {top_p:>6} {theirs:>7.2f} {ours:>6.2f} {ours / theirs:>6.2f}")


if __name__ == "__main__":
    main()
