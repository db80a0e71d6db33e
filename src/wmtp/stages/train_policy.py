"""Weighted multi-token training of one arm and seed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from wmtp.config import ArmConfig, Config, weighting
from wmtp.config.weightings import NEEDS_REFERENCE, NEEDS_VALUE
from wmtp.distributed import join_world
from wmtp.objectives.td import TDStatistics
from wmtp.stages import fitting
from wmtp.stages.context import StageContext
from wmtp.stages.output import write_json
from wmtp.tokens.data import Solutions, TokenData
from wmtp.training.scoring import validation_nll
from wmtp.training.steps import LanguageModelStep
from wmtp.training.weight_report import td_statistics, weight_examples, weight_summary
from wmtp.types import StageResult


def run(config: Config, context: StageContext) -> StageResult:
    """Train on `train.arrow` with the arm's weights, validate on clean held-out text, write `artifacts/policy/<run>`."""
    section = config.train_policy
    spec = config.runs[context.run]
    arm = config.arms[spec.arm]
    n_future = arm.n_future if arm.n_future is not None else section.model.n_future
    folder = f"artifacts/training/{context.run}"
    data = _data(arm, context, spec.reference_scores, spec.value_scores)
    validation = TokenData.open(context.input("artifacts/data"), "validation")
    with join_world(context.launch.device) as world:
        model = fitting.new_model(section.model, data.meta, seed=spec.seed, n_future=n_future)
        num_parameters = fitting.count_parameters(model)
        sharded = fitting.shard(model, world, section.train)
        step_function = LanguageModelStep(world, sharded, arm, n_future, seed=spec.seed, td_statistics=_statistics(arm, data))
        state = fitting.fit(
            context,
            world,
            model=sharded,
            step_function=step_function,
            data=data,
            validate=partial(
                validation_nll, world, sharded, validation, n_future, batch_tokens=fitting.VALIDATION_BATCH_TOKENS
            ),
            objective="val/nll_head0",
            section=section,
            seed=spec.seed,
            folder=folder,
        )
        sharded.eval()
        weights = weight_summary(world, step_function, data, section.train.steps)
        tokenizer = context.input("artifacts/data/tokenizer/tokenizer.json")
        examples = weight_examples(world, step_function, data, section.train.steps, tokenizer)
        tensors = fitting.full_state(sharded)
        if world.is_main:
            fitting.save_language_model(model, tensors, context.out(f"artifacts/policy/{context.run}"))
            fitting.copy_tokenizer(context, context.out(f"artifacts/policy/{context.run}"))
            values: dict[str, Any] = fitting.summary(context, world, state, num_parameters)
            values |= {"arm": spec.arm, "seed": spec.seed, "n_future": n_future, "num_examples": len(data), "weights": weights}
            _write(context.out(folder), values, examples)
    return StageResult(metrics=state.rows[-1])


def _data(arm: ArmConfig, context: StageContext, reference_scores: str, value_scores: str) -> TokenData:
    """Training rows with the score columns that the arm needs."""
    name = arm.weighting["name"]
    scores: dict[str, Path] = {}
    if name in NEEDS_REFERENCE:
        scores["reference_nll"] = context.input(reference_scores)
    if name in NEEDS_VALUE:
        scores["value"] = context.input(value_scores)
    solutions: Solutions = "correct" if arm.solutions == "correct" else "all"
    return TokenData.open(context.input("artifacts/data"), "train", columns=scores, solutions=solutions)


def _statistics(arm: ArmConfig, data: TokenData) -> TDStatistics | None:
    if arm.weighting["name"] not in NEEDS_VALUE:
        return None
    keys = weighting(arm)
    return td_statistics(data, gamma=keys.gamma, initial_value=keys.initial_value)


def _write(folder: Path, summary: dict[str, Any], examples: list[dict[str, Any]]) -> None:
    write_json(folder / "summary.json", summary)
    write_json(folder / "examples.json", examples)
