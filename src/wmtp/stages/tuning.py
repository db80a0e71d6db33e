"""Next-token tuning of a reference: what the stages that do it share."""

from __future__ import annotations

from functools import partial

from wmtp.config.schema import TuneReferenceConfig
from wmtp.distributed import join_world
from wmtp.files import write_json
from wmtp.models.save import write_language_model
from wmtp.stages import fitting
from wmtp.stages.context import StageContext
from wmtp.stages.counting import row_counts
from wmtp.stages.new_model import new_model
from wmtp.tokens.data import TokenData
from wmtp.training.scoring import validation_nll
from wmtp.training.steps import UNIFORM_ARM, LanguageModelStep
from wmtp.types import StageResult


def tune(
    section: TuneReferenceConfig, context: StageContext, data: TokenData, validation: TokenData, *, out: str, record: str
) -> StageResult:
    """Train on `data`, validate on `validation`, and write the result as the output `out` and the training's `record`."""
    with join_world(context.launch.device, seed=section.train.seed, timeout_s=context.launch.collective_timeout_s) as world:
        model = new_model(section.model, data.meta, context.tokenizer, seed=section.train.seed)
        num_parameters = fitting.count_parameters(model)
        sharded = fitting.shard(model, world, section.train, "tune_reference")
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
            folder=record,
        )
        write_language_model(sharded, context.out(out), is_main=world.is_main, save_dtype=section.train.save_dtype)
        if world.is_main:
            fitting.copy_tokenizer(context, context.out(out))
            values = fitting.summary(context, world, state, num_parameters)
            write_json(context.out(record) / "summary.json", values)
    return StageResult(metrics=state.result_row, counts=row_counts((data, len(data)), (validation, len(validation))))
