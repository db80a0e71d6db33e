"""A random global batch as weightings see it."""

import torch

from wmtp.objectives import shift_labels
from wmtp.objectives.td import TDStatistics
from wmtp.types import IGNORE_INDEX
from wmtp.weightings import WeightInputs, kind

COLUMNS = ("reference_nll", "value")


def make_inputs(seed=0, batch=4, length=9, heads=3, rows=None, gather=lambda x: x, columns=COLUMNS, **changes):
    """`rows`: only these of the batch, as one rank has them."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(20, (batch, length), generator=generator)
    prompt = torch.randint(1, 3, (batch,), generator=generator)
    lengths = torch.randint(4, length + 1, (batch,), generator=generator)
    position = torch.arange(length)
    labels = tokens.masked_fill((position < prompt[:, None]) | (position >= lengths[:, None]), IGNORE_INDEX)
    labels_BTH = shift_labels(labels, heads)
    tensors = {
        "labels_BTH": labels_BTH,
        "rows_B": torch.arange(batch) + 100,
        "slots_B": torch.arange(batch),
        "prompt_lens_B": prompt,
        "lengths_B": lengths,
        "is_correct_B": torch.randint(2, (batch,), generator=generator).float(),
    }
    scores = {name: torch.rand(batch, length, generator=generator) for name in columns}
    of_policy = {
        "nll_BTH": torch.rand(labels_BTH.shape, generator=generator),
        "entropy_BTH": torch.rand(labels_BTH.shape, generator=generator),
    }
    tensors |= of_policy
    plain = {"seed": 7, "step": 3, "num_steps": 10, "alignment": "target", "statistics": TDStatistics(0.1, 0.5)}
    for name, value in changes.items():
        (plain if name in plain else tensors)[name] = value
    if rows is not None:
        tensors = {name: value[rows] for name, value in tensors.items()}
        scores = {name: value[rows] for name, value in scores.items()}
    return WeightInputs(**tensors, **plain, columns=scores, gather=gather)


def make(name, **keys):
    return kind(name)(**keys)
