"""Unbiased pass@k.

Source: Chen et al. 2021, arXiv 2107.03374, section 2.1 and figure 3.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """The chance that at least one of k samples drawn without replacement from these is correct.

    1 - C(n - c, k) / C(n, k), as the product that neither overflows nor cancels.

    Raises:
        ValueError: k outside [1, num_samples], or num_correct outside [0, num_samples].
    """
    if not 1 <= k <= num_samples:
        raise ValueError(f"pass@{k} needs 1 <= k <= num_samples, and there are {num_samples} samples")
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"num_correct={num_correct} is outside [0, num_samples={num_samples}]")
    if num_samples - num_correct < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(num_samples - num_correct + 1, num_samples + 1)))


def task_scores(num_samples: Iterable[int], num_correct: Iterable[int], k: int) -> np.ndarray:
    """pass@k of every task, (T,) float64."""
    return np.array([pass_at_k(n, c, k) for n, c in zip(num_samples, num_correct, strict=True)], dtype=np.float64)
