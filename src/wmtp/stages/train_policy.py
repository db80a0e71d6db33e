"""Weighted multi-token training of one arm and seed."""

from __future__ import annotations

from functools import partial
from typing import Any

from wmtp.config import ArmConfig, Config, RunConfig
from wmtp.distributed import World, join_world
from wmtp.files import write_json
from wmtp.models.save import write_language_model
from wmtp.models.token_order import add_token_order
from wmtp.stages import fitting
from wmtp.stages.context import StageContext
from wmtp.stages.counting import row_counts
from wmtp.stages.new_model import new_model
from wmtp.tokens.data import Solutions, TokenData
from wmtp.tokens.loader import TrainLoader
from wmtp.training.loop import LoopState
from wmtp.training.scoring import validation_nll
from wmtp.training.steps import LanguageModelStep
from wmtp.training.weight_report import measure, weight_report
from wmtp.types import StageResult


def run(config: Config, context: StageContext) -> StageResult:
    """Train on `train.arrow` with the arm's weights, validate on clean held-out text, write `artifacts/policy/<run>`."""
    section = config.train_policy
    spec = config.runs[context.run]
    arm = config.arms[spec.arm]
    n_future = arm.n_future if arm.n_future is not None else section.model.n_future
    shape = arm.model(section.model)
    heads, stride = section.heads.of(n_future), shape.head_stride
    folder = f"artifacts/training/{context.run}"
    data = _data(arm, spec, context)
    validation = TokenData.open(context.input("artifacts/data"), "validation")
    with join_world(context.launch.device, seed=spec.seed, timeout_s=context.launch.collective_timeout_s) as world:
        model = new_model(shape, data.meta, context.tokenizer, seed=spec.seed, n_future=n_future)
        num_parameters = fitting.count_parameters(model)
        if arm.token_order:
            add_token_order(model)
        sharded = fitting.shard(model, world, section.train, "train_policy")
        step_function = LanguageModelStep(
            world,
            sharded,
            arm,
            n_future,
            num_steps=section.train.steps,
            seed=spec.seed,
            statistics=measure(arm, n_future, data, seed=spec.seed, num_steps=section.train.steps, stride=stride),
            stride=stride,
            heads=heads,
        )
        if world.is_main and section.heads.warmup_steps > heads.warmup_steps:
            print("the model's own head is the only one: nothing to warm up", flush=True)
        batch_tokens = fitting.VALIDATION_BATCH_TOKENS
        validate = partial(validation_nll, world, sharded, validation, n_future, batch_tokens=batch_tokens, stride=stride)
        state = fitting.fit(
            context,
            world,
            model=sharded,
            step_function=step_function,
            data=data,
            validate=validate,
            objective="val/nll_head0",
            section=section,
            seed=spec.seed,
            folder=folder,
            heads=heads,
        )
        sharded.eval()
        loader = fitting.train_loader(world, data, section.train, seed=0, shuffle=True)
        weights, examples = _weights(world, step_function, loader, state, context)
        policy, save_dtype = context.out(f"artifacts/policy/{context.run}"), section.train.save_dtype
        write_language_model(sharded, policy, is_main=world.is_main, save_dtype=save_dtype)
        if world.is_main:
            fitting.copy_tokenizer(context, policy)
            values: dict[str, Any] = fitting.summary(context, world, state, num_parameters)
            values |= {"arm": spec.arm, "seed": spec.seed, "n_future": n_future, "num_examples": len(data), "weights": weights}
            written = context.out(folder)
            write_json(written / "summary.json", values)
            write_json(written / "examples.json", examples)
    return StageResult(metrics=state.result_row, counts=row_counts((data, len(data)), (validation, len(validation))))


def _data(arm: ArmConfig, spec: RunConfig, context: StageContext) -> TokenData:
    """Training rows with the score columns that the arm needs."""
    columns = {column.name: context.input(column.path(spec.seed, spec.upstream)) for column in arm.weighting.needs.columns}
    solutions: Solutions = "correct" if arm.solutions == "correct" else "all"
    return TokenData.open(context.input("artifacts/data"), "train", columns=columns, solutions=solutions)


def _weights(
    world: World, step_function: LanguageModelStep, loader: TrainLoader, state: LoopState, context: StageContext
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """See `weight_report`; `state`: of the training that is over."""
    return weight_report(
        world,
        step_function,
        loader,
        context.tokenizer / "tokenizer.json",
        step=state.result_step,
        num_trained=state.step * loader.batch_size,
        say=lambda line: print(line, flush=True),
    )
