"""Where an arm's weights go: dataset statistics, signal against noise tokens, and a few examples token by token.

Shapes: B batch, T sequence, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmtp.config import ArmConfig
from wmtp.distributed import World
from wmtp.errors import DataError
from wmtp.tokens.data import Batch, TokenData
from wmtp.training.steps import LanguageModelStep, batch_inputs
from wmtp.weightings.base import WeightInputs

MAX_EXAMPLES, BATCH_SIZE = 512, 64
"""What the report looks at: so many examples at most, so many of them weighed together."""

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


def _sample(world: World, data: TokenData) -> Iterator[Batch]:
    """This rank's rows of a few global batches, as many batches for every rank."""
    order = np.random.default_rng(0).permutation(data.selected)
    order = np.resize(order, max(world.size, min(len(order), MAX_EXAMPLES) // world.size * world.size))
    per_rank = max(1, BATCH_SIZE // world.size)
    for start in range(0, len(order), per_rank * world.size):
        slots = np.arange(len(order[start : start + per_rank * world.size]))[world.rank :: world.size]
        yield data.collate(order[start + slots], slots)


def weight_summary(world: World, step_function: LanguageModelStep, data: TokenData, step: int) -> dict[str, Any]:
    """Mean head-0 weight of noise and of signal tokens under the trained policy. All ranks call it.

    Returns:
        signal_mean, noise_mean (None without noise), prompt_frac and by_noise_kind {kind: mean weight of its noise
        tokens; `clean`: of clean solutions' tokens}, over `MAX_EXAMPLES` examples.
    """
    kinds = data.arrow["noise_kind"].to_numpy(zero_copy_only=False)
    names = ["clean", *sorted({str(kind) for kind in kinds} - {""})]
    # per kind: [weight on noise, noise tokens, weight on signal, signal tokens]; last row: prompt tokens, all tokens
    sums = torch.zeros(len(names) + 1, 4, dtype=torch.float64)
    for batch in _sample(world, data):
        weights = _token_weights(step_function.weights(batch, step)).cpu().numpy()
        for row, length, prompt, weight in zip(
            batch.rows_B.tolist(), batch.lengths_B.tolist(), batch.prompt_lens_B.tolist(), weights, strict=True
        ):
            noise = _noise(data, row)[prompt:length]
            weight = weight[prompt:length]
            place = names.index(str(kinds[row]) or "clean")
            sums[place] += torch.tensor([weight[noise].sum(), noise.sum(), weight[~noise].sum(), (~noise).sum()])
            sums[-1, :2] += torch.tensor([prompt, length])
    world.all_reduce(sums)
    total = sums[:-1].sum(dim=0)
    by_kind = {name: _ratio(sums[i, 0], sums[i, 1]) for i, name in enumerate(names) if name != "clean"}
    return {
        "signal_mean": _ratio(total[2], total[3]),
        "noise_mean": _ratio(total[0], total[1]),
        "prompt_frac": _ratio(sums[-1, 0], sums[-1, 1]),
        "by_noise_kind": {"clean": _ratio(sums[0, 2], sums[0, 3]), **by_kind},
    }


def _ratio(a: torch.Tensor, b: torch.Tensor) -> float | None:
    return float(a / b) if float(b) > 0 else None


def _noise(data: TokenData, row: int) -> np.ndarray:
    return np.asarray(data.arrow["is_noise"][row].values.to_numpy(zero_copy_only=False), dtype=bool)


def weight_examples(
    world: World, step_function: LanguageModelStep, data: TokenData, step: int, tokenizer: Path, num: int = 8
) -> list[dict[str, Any]]:
    """A few examples with the weight of each token (None on the prompt): the first of each noise kind and label.

    All ranks call it; every rank returns the same list.
    """
    from tokenizers import Tokenizer

    decode = Tokenizer.from_file(str(tokenizer)).decode
    batch = next(_sample(world, data))
    weights = _token_weights(step_function.weights(batch, step)).cpu().numpy()
    mine = []
    for row, length, prompt, weight in zip(
        batch.rows_B.tolist(), batch.lengths_B.tolist(), batch.prompt_lens_B.tolist(), weights, strict=True
    ):
        ids = data.tokens[data.offsets[row] : data.offsets[row] + length]
        mine.append(
            {
                "row": row,
                "tokens": [decode([int(i)], skip_special_tokens=False) for i in ids],
                "weights": [None] * prompt + [round(float(w), 4) for w in weight[prompt:length]],
                "is_noise": _noise(data, row).tolist(),
                "prompt_len": prompt,
                "is_correct": bool(data.is_correct[row]),
                "noise_kind": str(data.arrow["noise_kind"][row].as_py()),
            }
        )
    everyone = sorted((item for part in world.gather_objects(mine) for item in part), key=lambda item: item["row"])
    seen: set[tuple[str, bool]] = set()
    chosen = []
    for item in everyone:
        key = (item["noise_kind"], item["is_correct"])
        if key not in seen:
            seen.add(key)
            chosen.append(item)
    return chosen[:num]
