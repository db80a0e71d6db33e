"""Value training: P(correct | prefix) on right and wrong solutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from wmtp.config import Config
from wmtp.config.schema import CriticConfig
from wmtp.distributed import World, join_world
from wmtp.files import write_json
from wmtp.models.slices import open_heads
from wmtp.models.value import ValueModel, write_value_model
from wmtp.stages import fitting
from wmtp.stages.context import StageContext
from wmtp.stages.counting import row_counts
from wmtp.stages.new_model import new_model
from wmtp.stages.upstream import seeded
from wmtp.tokens.data import TokenData, TokenMeta
from wmtp.training.critic_metrics import critic_metrics
from wmtp.training.critic_step import CriticStep
from wmtp.training.scoring import critic_values, score_rows
from wmtp.types import StageResult


def build_critic(section: CriticConfig, meta: TokenMeta, reference: Path, tokenizer: Path) -> ValueModel:
    """The critic as configured: on the tuned reference's weights, or on `section.model`, see `new_model`."""
    if section.init == "reference":
        backbone = open_heads(reference, f"the reference {reference.name}")
    else:
        backbone = new_model(section.model, meta, tokenizer, seed=section.train.seed)
    return ValueModel(
        backbone,
        head=section.head,
        dropout=section.dropout,
        reference_nll_input=section.reference_nll_input,
        seed=section.train.seed,
    )


def evaluate_critic(world: World, model: Any, data: TokenData, scratch: Path) -> dict[str, Any]:
    """Critic metrics over `data` (it carries the reference NLL). All ranks call it; the same result everywhere."""
    flat = score_rows(
        world,
        data,
        critic_values(model),
        scratch,
        batch_tokens=fitting.VALIDATION_BATCH_TOKENS,
        say=lambda line: None,
    )
    final = np.asarray(flat[data.offsets[1:] - 1])
    surprise = data.columns["reference_nll"]
    starts = data.offsets[:-1] + data.prompt_lens
    worst = np.array([surprise[a:b].max() for a, b in zip(starts, data.offsets[1:], strict=True)])
    world.barrier()
    if world.is_main:
        scratch.unlink()
    return critic_metrics(final, data.is_correct, data.problem_ids, worst)


def run(config: Config, context: StageContext) -> StageResult:
    """Train on `critic.arrow`, validate on held-out problems, write `artifacts/critic/<key>`."""
    section, tables = seeded(config.train_critic, config, "value", context), context.input("artifacts/data")
    out, record = f"artifacts/critic/{context.run}", f"artifacts/tuning/critic/{context.run}"
    scores = {"reference_nll": context.input(f"artifacts/scores/reference/{context.run}")}
    data = TokenData.open(tables, "critic", columns=scores)
    held_out = TokenData.open(tables, "critic_validation", columns=scores)
    with join_world(context.launch.device, seed=section.train.seed, timeout_s=context.launch.collective_timeout_s) as world:
        model = build_critic(section, data.meta, context.input(f"artifacts/reference/{context.run}"), context.tokenizer)
        num_parameters = fitting.count_parameters(model)
        sharded = fitting.shard(model, world, section.train, "train_critic")
        scratch = context.out(out) / ".values.npy"

        def quality() -> dict[str, Any]:
            return evaluate_critic(world, sharded, held_out, scratch)

        state = fitting.fit(
            context,
            world,
            model=sharded,
            step_function=CriticStep(world, sharded, section),
            data=data,
            validate=lambda: {f"val/{k}": v for k, v in quality().items() if isinstance(v, float)},
            objective="val/brier",
            section=section,
            seed=section.train.seed,
            folder=record,
        )
        sharded.eval()
        final = quality()
        write_value_model(
            cast("ValueModel", sharded), context.out(out), is_main=world.is_main, save_dtype=section.train.save_dtype
        )
        if world.is_main:
            fitting.copy_tokenizer(context, context.out(out))
            values = {**fitting.summary(context, world, state, num_parameters), "critic": final}
            write_json(context.out(record) / "summary.json", values)
    return StageResult(metrics=state.result_row, counts=row_counts((data, len(data)), (held_out, len(held_out))))
