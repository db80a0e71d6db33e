"""The weights that an arm gives to texts.

Shapes: B batch, T sequence, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wmtp.config.arms import ArmConfig, load_arm
from wmtp.distributed import World
from wmtp.library.models import Critic, Example, LanguageModel, flat_nll, frames_of, table_of
from wmtp.training.steps import LanguageModelStep
from wmtp.training.weight_report import measure

if TYPE_CHECKING:
    import pandas as pd

Scorer = LanguageModel | Critic


def token_weights(
    arm: ArmConfig | Mapping[str, Any],
    examples: Sequence[Example],
    *,
    policy: LanguageModel,
    scores: Mapping[str, Scorer] | None = None,
    step: int = 0,
    num_steps: int = 1,
    seed: int = 0,
) -> list[pd.DataFrame]:
    """The weights that an arm's training would give to these examples, were they one global batch and the whole dataset.

    Args:
        arm: as an arm's YAML has it, e.g. `{"weighting": {"name": "rho1", "keep_frac": 0.6}}`; an arm of `Workspace.config`.
        policy: the model being trained; its tokenizer and its number of heads (unless the arm says another) count.
        scores: what makes the score columns that the weighting needs, by name: `reference_nll` a language model, `value` a
            critic (which reads `reference_nll` too), ...
        step, num_steps, seed: of the training, for weightings that change over the steps or draw numbers.
    Returns:
        per example a row for every token (`id`, `token`, `is_prompt`) with a column `weight_head<h>` for every head: the weight
        of the token as that head's target, scaled as in the loss; NaN where it is none (the prompt, the first tokens).
    Raises:
        ConfigError: an arm that cannot be.
        NumericsError: weights that are NaN, infinite, negative or all zero, with which a run would stop.
        ValueError: a score is missing, or comes from a model with another tokenizer.
        DataError: the examples' scores cannot be weighted by.
    """
    chosen = arm if isinstance(arm, ArmConfig) else load_arm(arm, "given")
    own = policy.model.config
    n_future, stride = chosen.n_future or own.n_future, chosen.head_stride or own.head_stride
    columns = _columns(chosen, examples, policy, scores or {})
    data = table_of(policy.text, examples, columns)
    world = World.alone(next(policy.model.parameters()).device)
    statistics = measure(chosen, n_future, data, seed=seed, num_steps=num_steps, stride=stride)
    weigher = LanguageModelStep(
        world, policy.model, chosen, n_future, num_steps=num_steps, seed=seed, statistics=statistics, stride=stride
    )
    batch = data.collate(data.selected, np.arange(len(data)))
    weights_BTH = weigher.weights([batch], step).float().cpu().numpy()
    frames = frames_of(policy.text, data)
    for row, frame in enumerate(frames):
        for h in range(n_future):
            unseen = min(1 + h * stride, len(frame))
            ahead = np.concatenate([[np.nan] * unseen, weights_BTH[row, : len(frame) - unseen, h]])
            frame[f"weight_head{h}"] = np.where(frame["is_prompt"], np.nan, ahead)
    return frames


def _columns(
    arm: ArmConfig, examples: Sequence[Example], policy: LanguageModel, scores: Mapping[str, Scorer]
) -> dict[str, np.ndarray]:
    """The score columns that the weighting needs, flat over all tokens."""
    needed = [column.name for column in arm.weighting.needs.columns]
    missing = [name for name in needed if name not in scores]
    if missing:
        raise ValueError(f"weighting {arm.weighting.name} needs {', '.join(missing)}: give `scores` a model for each")
    return {name: _column(name, scores, examples, policy) for name in needed}


def _column(name: str, scores: Mapping[str, Scorer], examples: Sequence[Example], policy: LanguageModel) -> np.ndarray:
    scorer = scores[name]
    if scorer.text.tokenizer.to_str() != policy.text.tokenizer.to_str():
        raise ValueError(f"{name} is made by a model with another tokenizer than the policy's: their tokens do not match")
    if isinstance(scorer, LanguageModel):
        return flat_nll(scorer, examples)
    reference = scores.get("reference_nll")
    frames = scorer.values(examples, reference if isinstance(reference, LanguageModel) else None)
    return np.concatenate([frame["value"].to_numpy(np.float32) for frame in frames])
