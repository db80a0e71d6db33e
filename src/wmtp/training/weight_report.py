"""Where an arm's weights go: dataset statistics, signal against noise tokens, and a few examples token by token.

Shapes: B batch, T sequence, H heads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmtp.config import ArmConfig
from wmtp.distributed import World
from wmtp.errors import DataError
from wmtp.tokens.data import TokenData
from wmtp.tokens.loader import TrainLoader
from wmtp.training.steps import LanguageModelStep, batch_inputs
from wmtp.weightings.base import WeightInputs

MAX_EXAMPLES, FORWARD_SHARE, SHOWN = 512, 0.25, 8
"""What the report looks at: so many examples at most; this share of the examples trained on where each costs a forward pass, a
third of a training step's work; and so many of them token by token."""

_PART = 1024


def measure(arm: ArmConfig, n_future: int, data: TokenData, *, seed: int, num_steps: int, stride: int = 1) -> Any:
    """The statistics of the whole dataset that the arm's weighting asks for.

    Raises:
        DataError: its scores cannot be weighted by.
    """

    def parts() -> Iterator[WeightInputs]:
        for start in range(0, len(data), _PART):
            part = data.selected[start : start + _PART]
            batch = data.collate(part, np.arange(len(part)))
            yield batch_inputs(
                batch,
                n_future,
                stride=stride,
                seed=seed,
                step=0,
                num_steps=num_steps,
                alignment=arm.alignment,
                gather=lambda here: here,
            )

    try:
        return arm.weighting.measure(parts())
    except ValueError as error:
        raise DataError(f"{data.path} with weighting {arm.weighting.name}: {error}") from None


def _token_weights(weights_BTH: torch.Tensor) -> torch.Tensor:
    """Head 0's weight of every token as a target: (B, T), 0 for the first token."""
    return torch.nn.functional.pad(weights_BTH[:, :-1, 0], (1, 0))


def weight_report(
    world: World,
    step_function: LanguageModelStep,
    loader: TrainLoader,
    tokenizer: Path,
    *,
    step: int,
    num_trained: int,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the trained policy's weights are: of noise and of signal tokens on average, and of a few examples token by token.

    Looks once at whole global batches in the loader's micro-batches: at `MAX_EXAMPLES` examples at most and, where weights
    need a forward pass, at `FORWARD_SHARE` of the examples trained on; at one global batch at least. All ranks call it.

    Args:
        loader: of the examples, see `TrainLoader`; step: at which the weights are asked for.
        num_trained: examples that the training read.
        say: progress lines, called on rank 0: at the start, and every two seconds at most.
    Returns:
        the same on every rank: head 0's signal_mean, noise_mean (None without noise), difference_sem (the standard error of
        their difference, over examples), prompt_frac, num_examples and by_noise_kind {kind: mean weight of its noise tokens;
        `clean`: of clean solutions' tokens}; and the first example of each noise kind and label, with the weight of each token
        (None on the prompt).
    """
    data, most = loader.data, MAX_EXAMPLES
    if step_function.needs.policy:
        most = min(most, int(num_trained * FORWARD_SHARE))
    num_batches = max(1, min(most, len(data)) // loader.batch_size)
    tally, first = _Tally(data), _First(data)
    spoken = -math.inf
    for number in range(num_batches):
        if world.is_main and time.monotonic() - spoken > 2:
            say(f"weights for the report: {number * loader.batch_size}/{num_batches * loader.batch_size} examples looked at")
            spoken = time.monotonic()
        batches = loader.micro_batches(number)
        weights_BT = _token_weights(step_function.weights(batches, step)).cpu().numpy()
        rows = np.concatenate([batch.rows_B.numpy() for batch in batches])
        for row, weight_T in zip(rows.tolist(), weights_BT, strict=True):
            tally.add(row, weight_T)
            first.add(row, weight_T)
    return {**tally.means(world), "num_examples": num_batches * loader.batch_size}, first.shown(world, tokenizer)


class _Tally:
    """Sums of weights, per kind of noise."""

    def __init__(self, data: TokenData) -> None:
        self._data = data
        self._kinds = data.arrow["noise_kind"].to_numpy(zero_copy_only=False)
        self._names = ["clean", *sorted({str(kind) for kind in self._kinds} - {""})]
        # per kind: [weight on noise, noise tokens, weight on signal, signal tokens]; last row: prompt tokens, all tokens
        self._sums = torch.zeros(len(self._names) + 1, 4, dtype=torch.float64)
        self._moments = torch.zeros(4, 4, dtype=torch.float64)  # of an example's four sums with each other

    def add(self, row: int, weight_T: np.ndarray) -> None:
        prompt, length = _span(self._data, row)
        noise, weight = _noise(self._data, row)[prompt:length], weight_T[prompt:length]
        place = self._names.index(str(self._kinds[row]) or "clean")
        sums = [weight[noise].sum(), noise.sum(), weight[~noise].sum(), (~noise).sum()]
        of_row = torch.tensor([float(one) for one in sums], dtype=torch.float64)
        self._sums[place] += of_row
        self._moments += of_row.outer(of_row)
        self._sums[-1, :2] += torch.tensor([prompt, length])

    def means(self, world: World) -> dict[str, Any]:
        """Over all ranks."""
        sums = world.all_reduce(self._sums.to(world.device)).cpu()
        moments = world.all_reduce(self._moments.to(world.device)).cpu()
        total = sums[:-1].sum(dim=0)
        by_kind = {name: _ratio(sums[i, 0], sums[i, 1]) for i, name in enumerate(self._names) if name != "clean"}
        return {
            "signal_mean": _ratio(total[2], total[3]),
            "noise_mean": _ratio(total[0], total[1]),
            "difference_sem": _difference_sem(total, moments),
            "prompt_frac": _ratio(sums[-1, 0], sums[-1, 1]),
            "by_noise_kind": {"clean": _ratio(sums[0, 2], sums[0, 3]), **by_kind},
        }


class _First:
    """Of each noise kind and label the first example that was seen, in the table's order."""

    def __init__(self, data: TokenData) -> None:
        self._data = data
        self._kinds = data.arrow["noise_kind"].to_numpy(zero_copy_only=False)
        self._found: dict[tuple[str, bool], tuple[int, list[float]]] = {}

    def add(self, row: int, weight_T: np.ndarray) -> None:
        key = (str(self._kinds[row]), bool(self._data.is_correct[row]))
        if key not in self._found or row < self._found[key][0]:
            prompt, length = _span(self._data, row)
            self._found[key] = row, [round(float(weight), 4) for weight in weight_T[prompt:length]]

    def shown(self, world: World, tokenizer: Path) -> list[dict[str, Any]]:
        """Of all ranks, at most `SHOWN`."""
        from tokenizers import Tokenizer

        decode = Tokenizer.from_file(str(tokenizer)).decode
        first: dict[tuple[str, bool], tuple[int, list[float]]] = {}
        for part in world.gather_objects(self._found):
            first |= {key: found for key, found in part.items() if key not in first or found[0] < first[key][0]}
        items = []
        for (kind, is_correct), (row, weights) in sorted(first.items(), key=lambda item: item[1][0])[:SHOWN]:
            prompt, length = _span(self._data, row)
            ids = self._data.tokens[self._data.offsets[row] : self._data.offsets[row] + length]
            items.append(
                {
                    "row": row,
                    "tokens": [decode([int(i)], skip_special_tokens=False) for i in ids],
                    "weights": [None] * prompt + weights,
                    "is_noise": _noise(self._data, row).tolist(),
                    "prompt_len": prompt,
                    "is_correct": is_correct,
                    "noise_kind": kind,
                }
            )
        return items


def _span(data: TokenData, row: int) -> tuple[int, int]:
    """Tokens of a row's prompt, and of the whole row."""
    return int(data.prompt_lens[row]), int(data.offsets[row + 1] - data.offsets[row])


def _ratio(a: torch.Tensor, b: torch.Tensor) -> float | None:
    return float(a / b) if float(b) > 0 else None


def _difference_sem(total: torch.Tensor, moments: torch.Tensor) -> float | None:
    """Standard error of noise_mean - signal_mean, two ratios of sums over examples, linearised (Cochran 1977, section 6.4).

    Args:
        total, moments: of weight on noise, noise tokens, weight on signal, signal tokens: sums over examples, (4,), and sums of
            their products, (4, 4).
    """
    weight_on_noise, noise, weight_on_signal, signal = total.tolist()
    if not (noise and signal):
        return None
    slopes = torch.tensor(
        [1 / noise, -weight_on_noise / noise**2, -1 / signal, weight_on_signal / signal**2], dtype=total.dtype
    )
    return float((slopes @ moments @ slopes).clamp(min=0).sqrt())


def _noise(data: TokenData, row: int) -> np.ndarray:
    return np.asarray(data.arrow["is_noise"][row].values.to_numpy(zero_copy_only=False), dtype=bool)
