"""Value training: P(correct | prefix) on right and wrong solutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wmtp.config import Config
from wmtp.config.schema import CriticConfig
from wmtp.distributed import World, join_world
from wmtp.models.build import build_model
from wmtp.models.mtp import MTPForCausalLM
from wmtp.models.value import ValueModel, save_value_model
from wmtp.stages import fitting
from wmtp.stages.context import StageContext
from wmtp.stages.output import write_json
from wmtp.tokens.loader import Rows
from wmtp.tokens.tables import read_meta
from wmtp.training.critic_metrics import critic_metrics
from wmtp.training.scoring import critic_values, score_rows
from wmtp.training.steps import CriticStep
from wmtp.types import StageResult


def build_critic(section: CriticConfig, meta: dict[str, Any], reference: Path) -> ValueModel:
    """The critic as configured: on the tuned reference's weights, or from scratch."""
    if section.init == "reference":
        backbone = MTPForCausalLM.from_pretrained(reference)
    else:
        backbone = build_model(
            section.model,
            vocab_size=meta["vocab_size"],
            max_length=meta["max_length"],
            pad_token_id=meta["pad_token_id"],
            eos_token_id=meta["eos_token_id"],
            seed=section.train.seed,
        )
    return ValueModel(backbone, head=section.head, dropout=section.dropout, reference_nll_input=section.reference_nll_input)


def evaluate_critic(world: World, model: Any, rows: Rows, scratch: Path, pad_token_id: int) -> dict[str, Any]:
    """Critic metrics over `rows` (they carry the reference NLL). All ranks call it; the same result everywhere."""
    flat = score_rows(
        world,
        rows,
        critic_values(model),
        scratch,
        batch_tokens=fitting.VALIDATION_BATCH_TOKENS,
        pad_token_id=pad_token_id,
        say=lambda line: None,
    )
    final = np.asarray(flat[rows.offsets[1:] - 1])
    surprise = rows.columns["reference_nll"]
    starts = rows.offsets[:-1] + rows.prompt_lens
    worst = np.array([surprise[a:b].max() for a, b in zip(starts, rows.offsets[1:], strict=True)])
    ids = np.asarray(rows.problem_ids.to_pylist())
    world.barrier()
    if world.is_main:
        scratch.unlink()
    return critic_metrics(final, rows.is_correct, ids, worst)


def run(config: Config, context: StageContext) -> StageResult:
    """Train on `critic.arrow`, validate on held-out problems, write `artifacts/critic`."""
    section, meta = config.train_critic, read_meta(context.input("artifacts/data"))
    scores = {"reference_nll": context.input("artifacts/scores/reference")}
    with join_world(context.launch.device) as world:
        model = build_critic(section, meta, context.input("artifacts/reference"))
        num_parameters = fitting.count_parameters(model)
        sharded = fitting.shard(model, world, section.train)
        held_out = Rows(context.input("artifacts/data/critic_validation.arrow"), scores)
        scratch = context.out("artifacts/critic") / ".values.npy"

        def quality() -> dict[str, Any]:
            return evaluate_critic(world, sharded, held_out, scratch, meta["pad_token_id"])

        state = fitting.fit(
            context,
            world,
            model=sharded,
            step_function=CriticStep(world, sharded, section),
            rows=Rows(context.input("artifacts/data/critic.arrow"), scores),
            validate=lambda: {f"val/{k}": v for k, v in quality().items() if isinstance(v, float)},
            objective="val/brier",
            config=section.train,
            optim=section.optim,
            seed=section.train.seed,
            pad_token_id=meta["pad_token_id"],
            folder="artifacts/tuning/critic",
            shuffle=not meta["is_ordered"],
        )
        sharded.eval()
        final = quality()
        tensors = fitting.full_state(sharded)
        if world.is_main:
            save_critic(model, tensors, context)
            values = {**fitting.summary(context, world, state, num_parameters), "critic": final}
            write_json(context.out("artifacts/tuning/critic") / "summary.json", values)
    return StageResult(metrics=state.rows[-1])


def save_critic(model: ValueModel, tensors: dict[str, Any], context: StageContext) -> None:
    """Backbone, value head and tokenizer."""
    out = context.out("artifacts/critic")
    save_value_model(model, tensors, out)
    fitting.copy_tokenizer(context, out)
