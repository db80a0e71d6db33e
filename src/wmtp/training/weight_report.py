"""Where an arm's weights go: dataset statistics, signal against noise tokens, and a few examples token by token.

Shapes: B batch, T sequence, H heads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmtp.distributed import World
from wmtp.errors import DataError
from wmtp.objectives import td_errors
from wmtp.objectives.td import TDStatistics
from wmtp.tokens.data import TokenData
from wmtp.tokens.loader import TrainLoader
from wmtp.training.steps import LanguageModelStep

NUM_BATCHES, BATCH_SIZE = 8, 64


def td_statistics(data: TokenData, *, gamma: float, initial_value: str, chunk: int = 1024) -> TDStatistics:
    """Exact mean and standard deviation of the TD errors of all response tokens of `data`.

    Raises:
        DataError: the values are constant, so that there is nothing to whiten.
    """
    total, squares, count = 0.0, 0.0, 0
    for start in range(0, len(data), chunk):
        part = data.selected[start : start + chunk]
        batch = data.collate(part, np.arange(len(part)))
        deltas_BT = td_errors(
            batch.columns["value"],
            batch.is_correct_B,
            batch.prompt_lens_B,
            batch.lengths_B,
            gamma=gamma,
            initial_value=initial_value,
        ).double()
        total += float(deltas_BT.sum())
        squares += float(deltas_BT.square().sum())
        count += int((batch.lengths_B - batch.prompt_lens_B).sum())
    mean = total / count
    std = max(0.0, squares / count - mean**2) ** 0.5
    if not std > 0:
        raise DataError(f"the critic's values are constant on {data.path}: TD errors have no spread to weight by")
    return TDStatistics(mean=mean, std=std)


def _token_weights(weights_BTH: torch.Tensor) -> torch.Tensor:
    """Head 0's weight of every token as a target: (B, T), 0 for the first token."""
    return torch.nn.functional.pad(weights_BTH[:, :-1, 0], (1, 0))


def _report_loader(world: World, data: TokenData, batch_size: int) -> TrainLoader:
    per_rank = -(-batch_size // world.size) * world.size
    return TrainLoader(data, batch_size=per_rank, num_micro=1, seed=0, rank=world.rank, world_size=world.size)


def weight_summary(world: World, step_function: LanguageModelStep, data: TokenData, step: int) -> dict[str, Any]:
    """Mean head-0 weight of noise and of signal tokens under the trained policy. All ranks call it.

    Returns:
        signal_mean, noise_mean (None without noise), prompt_frac and by_noise_kind {kind: mean weight of its noise
        tokens; `clean`: of clean solutions' tokens}, over `NUM_BATCHES` batches.
    """
    kinds = data.arrow["noise_kind"].to_numpy(zero_copy_only=False)
    names = ["clean", *sorted({str(kind) for kind in kinds} - {""})]
    # per kind: [weight on noise, noise tokens, weight on signal, signal tokens]; last row: prompt tokens, all tokens
    sums = torch.zeros(len(names) + 1, 4, dtype=torch.float64)
    loader = _report_loader(world, data, BATCH_SIZE)
    for number in range(NUM_BATCHES):
        (batch,) = loader.micro_batches(number)
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
    (batch,) = _report_loader(world, data, BATCH_SIZE).micro_batches(0)
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
