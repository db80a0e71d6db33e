"""Next-token tuning of the reference model on clean, correct solutions."""

from __future__ import annotations

from functools import partial

from wmtp.config import Config
from wmtp.distributed import join_world
from wmtp.models.build import build_model
from wmtp.stages import fitting
from wmtp.stages.context import StageContext
from wmtp.stages.output import write_json
from wmtp.tokens.loader import Rows
from wmtp.tokens.tables import read_meta
from wmtp.training.scoring import validation_nll
from wmtp.training.steps import UNIFORM_ARM, LanguageModelStep
from wmtp.types import StageResult


def run(config: Config, context: StageContext) -> StageResult:
    """Train on `reference.arrow`, validate on `validation.arrow`, write `artifacts/reference`."""
    section, meta = config.tune_reference, read_meta(context.input("artifacts/data"))
    with join_world(context.launch.device) as world:
        model = build_model(
            section.model,
            vocab_size=meta["vocab_size"],
            max_length=meta["max_length"],
            pad_token_id=meta["pad_token_id"],
            eos_token_id=meta["eos_token_id"],
            seed=section.train.seed,
        )
        num_parameters = fitting.count_parameters(model)
        sharded = fitting.shard(model, world, section.train)
        validation = Rows(context.input("artifacts/data/validation.arrow"))
        state = fitting.fit(
            context,
            world,
            model=sharded,
            step_function=LanguageModelStep(world, sharded, UNIFORM_ARM, 1),
            rows=Rows(context.input("artifacts/data/reference.arrow")),
            validate=partial(
                validation_nll,
                world,
                sharded,
                validation,
                1,
                batch_tokens=fitting.VALIDATION_BATCH_TOKENS,
                pad_token_id=meta["pad_token_id"],
            ),
            objective="val/nll_head0",
            config=section.train,
            optim=section.optim,
            seed=section.train.seed,
            pad_token_id=meta["pad_token_id"],
            folder="artifacts/tuning/reference",
        )
        tensors = fitting.full_state(sharded)
        if world.is_main:
            fitting.save_language_model(model, tensors, context.out("artifacts/reference"))
            fitting.copy_tokenizer(context, context.out("artifacts/reference"))
            values = fitting.summary(context, world, state, num_parameters)
            write_json(context.out("artifacts/tuning/reference") / "summary.json", values)
    return StageResult(metrics=state.rows[-1])
