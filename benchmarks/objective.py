"""Time and peak memory of the weighted MTP objective: hidden states of every head in, all gradients out.

    python benchmarks/objective.py                    # the tables of RESULTS.md
    python benchmarks/objective.py --vocab 8000 --repeats 3

Every implementation of a case runs in a process of its own with one thread; the implementations take turns, so that a
machine that slows down slows all of them. Times are medians of CPU time (CUDA: of wall time between synchronisations).
Memory is the peak of the process above what it held when the step began.

Shapes: B batch, T sequence, H heads, D width, V vocabulary, N = H * B * T rows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import LinearCrossEntropyOptions
from torch.nn.functional import cross_entropy, linear_cross_entropy

from wmtp.objectives import heads_first, linear_nll, mtp_loss, shift_labels, target_scale
from wmtp.objectives.selection import LikelySelection, excess_scores, num_to_keep, select_top
from wmtp.types import IGNORE_INDEX

KEEP_FRAC = 0.6
IMPLEMENTATIONS = ("wmtp", "naive", "per_head", "torch_linear")
LABELS = {
    "wmtp": "wmtp",
    "naive": "(a) materialised logits",
    "per_head": "(b) per-head loop, two cross-entropies",
    "torch_linear": "torch linear_cross_entropy",
}


@dataclass
class Case:
    """One step's inputs. Weights are ones (`baseline`) or a Rho-1 selection by the step's own NLL (`rho1`)."""

    hidden_HBTD: torch.Tensor
    weight_VD: torch.Tensor
    labels_BTH: torch.Tensor
    reference_BTH: torch.Tensor
    arm: str

    def select(self, nll_BTH: torch.Tensor) -> torch.Tensor | None:
        if self.arm == "baseline":
            return None
        positions_BT = torch.arange(self.labels_BTH[..., 0].numel(), device=nll_BTH.device).view(self.labels_BTH.shape[:2])
        scores_BTH = excess_scores(nll_BTH.detach(), self.reference_BTH, "signed")
        return select_top(scores_BTH, self.labels_BTH != IGNORE_INDEX, positions_BT, KEEP_FRAC, lambda x: x)

    def loss(self, nll_BTH: torch.Tensor) -> torch.Tensor:
        return mtp_loss(nll_BTH, self.labels_BTH, self.select(nll_BTH)).loss

    @property
    def rows_ND(self) -> torch.Tensor:  # noqa: N802
        return self.hidden_HBTD.flatten(0, 2)

    @property
    def labels_N(self) -> torch.Tensor:  # noqa: N802
        return heads_first(self.labels_BTH)

    def per_target(self, nll_N: torch.Tensor) -> torch.Tensor:
        batch, length, heads = self.labels_BTH.shape
        return nll_N.view(heads, batch, length).permute(1, 2, 0)


def make_case(arm: str, vocab: int, ignored: float, size: tuple[int, int, int, int], device: str, dtype: torch.dtype) -> Case:
    """Random rows; `ignored` of each sequence, from its start, is prompt."""
    batch, length, heads, width = size
    generator = torch.Generator().manual_seed(0)
    labels_BT = torch.randint(vocab, (batch, length + 1), generator=generator)
    labels_BT[:, : round(ignored * length)] = IGNORE_INDEX
    labels_BTH = shift_labels(labels_BT, heads)[:, :length]
    hidden_HBTD = torch.randn(heads, batch, length, width, generator=generator).to(device, dtype)
    weight_VD = (torch.randn(vocab, width, generator=generator) * width**-0.5).to(device, dtype)
    reference_BTH = torch.rand(labels_BTH.shape, generator=generator).to(device) + torch.log(torch.tensor(float(vocab)))
    return Case(hidden_HBTD.requires_grad_(), weight_VD.requires_grad_(), labels_BTH.to(device), reference_BTH, arm)


def step_wmtp(case: Case) -> torch.Tensor:
    scale_N, guess = None, None
    if case.arm == "baseline":
        scale_N = heads_first(target_scale(case.labels_BTH))
    else:
        counts_H = (case.labels_BTH != IGNORE_INDEX).sum(dim=(0, 1)).tolist()
        kept_H = torch.tensor([num_to_keep(KEEP_FRAC, count) for count in counts_H], device=case.labels_BTH.device)
        scale_BTH = target_scale(case.labels_BTH, normaliser=kept_H.double())
        guess = LikelySelection(case.reference_BTH, scale_BTH, [KEEP_FRAC] * len(counts_H), "signed")
    return case.loss(case.per_target(linear_nll(case.rows_ND, case.weight_VD, case.labels_N, scale_N=scale_N, guess=guess)))


def step_naive(case: Case) -> torch.Tensor:
    logits_NV = case.rows_ND @ case.weight_VD.T
    return case.loss(case.per_target(cross_entropy(logits_NV, case.labels_N, ignore_index=IGNORE_INDEX, reduction="none")))


def step_per_head(case: Case) -> torch.Tensor:
    """All logits at once as (B, T, H, V), from stacked latents as Meta's published model makes them, then per head one
    cross-entropy to learn from and one to select by.
    """
    logits_BTHV = torch.stack(tuple(case.hidden_HBTD), dim=2) @ case.weight_VD.T
    learned, selecting = [], []
    for head in range(logits_BTHV.shape[2]):
        labels_N = case.labels_BTH[..., head].flatten()
        for nlls, logits_BTV in ((learned, logits_BTHV[:, :, head]), (selecting, logits_BTHV[:, :, head].detach())):
            flat_NV = logits_BTV.flatten(0, 1)
            nll_N = cross_entropy(flat_NV, labels_N, ignore_index=IGNORE_INDEX, reduction="none")
            nlls.append(nll_N.view(case.labels_BTH.shape[:2]))
    return mtp_loss(torch.stack(learned, -1), case.labels_BTH, case.select(torch.stack(selecting, -1))).loss


def step_torch_linear(case: Case) -> torch.Tensor:
    nll_N = linear_cross_entropy(
        case.rows_ND,
        case.weight_VD,
        case.labels_N,
        ignore_index=IGNORE_INDEX,
        reduction="none",
        options=LinearCrossEntropyOptions(batch_chunk_size=max(1, 32 * 2**20 // (4 * case.weight_VD.shape[0]))),
    )
    return case.loss(case.per_target(nll_N))


STEPS: dict[str, Callable[[Case], torch.Tensor]] = {
    "wmtp": step_wmtp,
    "naive": step_naive,
    "per_head": step_per_head,
    "torch_linear": step_torch_linear,
}


def _status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def _run(step: Callable[[Case], torch.Tensor], case: Case) -> torch.Tensor:
    loss = step(case)
    loss.backward()
    return loss.detach()


def measure(name: str, case: Case, on_cuda: bool) -> dict[str, float]:
    """One step: {seconds, bytes above the start, loss and gradient norms}."""
    if on_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before, start = torch.cuda.memory_allocated(), time.perf_counter()
        loss = _run(STEPS[name], case)
        torch.cuda.synchronize()
        seconds, peak = time.perf_counter() - start, torch.cuda.max_memory_allocated() - before
    else:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        before, start = _status_bytes("VmRSS"), time.process_time()
        loss = _run(STEPS[name], case)
        seconds, peak = time.process_time() - start, _status_bytes("VmHWM") - before
    assert case.hidden_HBTD.grad is not None and case.weight_VD.grad is not None
    norms = {"hidden": float(case.hidden_HBTD.grad.norm()), "weight": float(case.weight_VD.grad.norm())}
    return {"seconds": seconds, "bytes": float(peak), "loss": float(loss)} | norms


def child(name: str, arm: str, vocab: int, ignored: float, size: tuple[int, int, int, int], device: str) -> None:
    """Measure one step in this process and print it as JSON."""
    torch.set_num_threads(1)
    on_cuda = device == "cuda"
    dtype = torch.bfloat16 if on_cuda else torch.float32
    for _ in range(3 if on_cuda else 1):  # loads the libraries, and on a GPU the kernels of the real shape
        warm_size = size if on_cuda else (1, 4, size[2], size[3])
        _run(STEPS[name], make_case(arm, vocab if on_cuda else 50, ignored, warm_size, device, dtype))
    print(json.dumps(measure(name, make_case(arm, vocab, ignored, size, device, dtype), on_cuda)))


def medians(
    names: list[str], arm: str, vocab: int, ignored: float, size: list[int], device: str, repeats: int
) -> dict[str, dict[str, float]]:
    """Each implementation's medians; they take turns, and all must compute the same loss and gradients."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            arguments = [name, arm, str(vocab), str(ignored), json.dumps(size), device]
            done = subprocess.run(
                [sys.executable, __file__, "--child", *arguments],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                check=True,
            )
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    result = {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()}
    for name, values in result.items():
        for key in ("loss", "hidden", "weight"):
            ours = result[names[0]][key]
            if abs(values[key] - ours) > (2e-2 if device == "cuda" else 1e-4) * abs(ours):
                raise SystemExit(f"{name} and {names[0]} do not agree on {key}: {values[key]} and {ours}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, nargs="+", default=[8000, 32000])
    parser.add_argument("--arm", nargs="+", default=["baseline", "rho1"], choices=["baseline", "rho1"])
    parser.add_argument("--ignored", type=float, nargs="+", default=[0.0, 0.4], help="share of prompt tokens")
    parser.add_argument("--only", nargs="+", default=list(IMPLEMENTATIONS), choices=IMPLEMENTATIONS)
    parser.add_argument("--size", type=int, nargs=4, default=[8, 512, 4, 256], metavar=("B", "T", "H", "D"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", nargs=6, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, arm, vocab, ignored, size, device = arguments.child
        child(name, arm, int(vocab), float(ignored), tuple(json.loads(size)), device)
        return
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    print(f"torch {torch.__version__}; B, T, H, D = {arguments.size}; medians of {arguments.repeats}; rho1 keeps {KEEP_FRAC}\n")
    print("| device | V | arm | ignored | implementation | time, s | wmtp / it | peak, MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for device in devices:
        for vocab in arguments.vocab:
            for arm in arguments.arm:
                for ignored in arguments.ignored:
                    result = medians(arguments.only, arm, vocab, ignored, arguments.size, device, arguments.repeats)
                    ours = result[arguments.only[0]]["seconds"]
                    for name, values in result.items():
                        print(
                            f"| {device} | {vocab} | {arm} | {ignored:.0%} | {LABELS[name]} | {values['seconds']:.3f} "
                            f"| {ours / values['seconds']:.2f} | {values['bytes'] / 1e6:,.0f} |",
                            flush=True,
                        )


if __name__ == "__main__":
    main()
