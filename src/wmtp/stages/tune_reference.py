"""Next-token tuning of the reference model on clean, correct solutions."""

from __future__ import annotations

from functools import partial

from wmtp.config import Config
from wmtp.distributed import join_world
from wmtp.stages import fitting
from wmtp.stages.context import StageContext
from wmtp.stages.output import write_json
from wmtp.tokens.data import TokenData
from wmtp.training.scoring import validation_nll
from wmtp.training.steps import UNIFORM_ARM, LanguageModelStep
from wmtp.types import StageResult


def run(config: Config, context: StageContext) -> StageResult:
    """Train on `reference.arrow`, validate on `validation.arrow`, write `artifacts/reference`."""
    section, tables = config.tune_reference, context.input("artifacts/data")
    data, validation = TokenData.open(tables, "reference"), TokenData.open(tables, "validation")
    with join_world(context.launch.device, seed=section.train.seed) as world:
        model = fitting.new_model(section.model, data.meta, seed=section.train.seed)
        num_parameters = fitting.count_parameters(model)
        sharded = fitting.shard(model, world, section.train)
        state = fitting.fit(
            context,
            world,
            model=sharded,
            step_function=LanguageModelStep(world, sharded, UNIFORM_ARM, 1, num_steps=section.train.steps),
            data=data,
            validate=partial(validation_nll, world, sharded, validation, 1, batch_tokens=fitting.VALIDATION_BATCH_TOKENS),
            objective="val/nll_head0",
            section=section,
            seed=section.train.seed,
            folder="artifacts/tuning/reference",
        )
        tensors = fitting.full_state(sharded)
        if world.is_main:
            fitting.save_language_model(model, tensors, context.out("artifacts/reference"))
            fitting.copy_tokenizer(context, context.out("artifacts/reference"))
            values = fitting.summary(context, world, state, num_parameters)
            write_json(context.out("artifacts/tuning/reference") / "summary.json", values)
    return StageResult(metrics=state.result_row)
