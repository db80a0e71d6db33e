"""What the three training stages share: wiring between a step function, the loop, tracking and the output folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from torch import nn

from wmtp.checkpoint import Checkpointer
from wmtp.errors import ConfigError
from wmtp.files import Journal
from wmtp.models.attention import use_attention
from wmtp.models.build import parallelize
from wmtp.models.mtp import MTPForCausalLM
from wmtp.models.packed import prove_packed
from wmtp.progress import Progress
from wmtp.tokens.data import TokenData
from wmtp.tokens.loader import TrainLoader
from wmtp.training.loop import LoopState, MetricsRow, TrainStep, train
from wmtp.training.trace import Traced

if TYPE_CHECKING:
    from wmtp.config.training import HeadsConfig, OptimConfig, TrainConfig
    from wmtp.distributed import World
    from wmtp.models.value import ValueModel
    from wmtp.stages.context import StageContext

VALIDATION_BATCH_TOKENS = 8192


class Section(Protocol):
    """What the three training stages' sections of the configuration have in common."""

    @property
    def train(self) -> TrainConfig: ...
    @property
    def optim(self) -> OptimConfig: ...


def shard(model: nn.Module, world: World, config: TrainConfig, section: str) -> nn.Module:
    """`model` under FSDP as configured.

    Args:
        section: of the configuration that `config` is of, for errors.
    Raises:
        ConfigError, ModelError: see `use_attention`.
    """
    sharded = parallelize(
        model,
        world.mesh,
        dtype=config.dtype,
        activation_checkpointing=config.activation_checkpointing,
        compile_backend=config.compile_backend,
        has_narrow_masters=config.masters != "float32",
    )
    if config.attention is not None:
        backbone = model if isinstance(model, MTPForCausalLM) else cast("ValueModel", model).backbone
        is_narrow = config.dtype == "bfloat16"
        use_attention(sharded, backbone, config.attention, f"{section}.train.attention", is_narrow=is_narrow)
    return sharded


def fit(
    context: StageContext,
    world: World,
    *,
    model: nn.Module,
    step_function: TrainStep,
    data: TokenData,
    validate: Callable[[], dict[str, float]],
    objective: str,
    section: Section,
    seed: int,
    folder: str,
    heads: HeadsConfig | None = None,
) -> LoopState:
    """Train, tell everyone, and write history.jsonl to the output `folder`.

    Args:
        objective: the validation metric that early stopping minimises.
        seed: of the data's order and of what is drawn while training.
        heads: how further heads are trained.
    Raises:
        ConfigError: the batch cannot be dealt out to the ranks.
        ModelError: rows are packed, and the model does not keep what is in them apart.
    """
    config = section.train
    if data.segments is not None:
        prove_packed(cast(MTPForCausalLM, model), context.name, is_narrow=config.dtype == "bfloat16")
    loader = train_loader(world, data, config, seed, shuffle=not data.is_ordered, where=_section_of(context.stage))
    progress = Progress(context.name, total=config.steps, root=context.root, enabled=world.is_main)

    def on_row(row: MetricsRow) -> None:
        context.tracker.log_metrics({k: v for k, v in row.items() if k != "step"}, step=int(row["step"]))
        progress.update(int(row["step"]), loss=row.get("train/loss"), tokens_per_s=row["perf/tokens_per_s"])

    with _traced(step_function, context) as traced:
        state = train(
            world=world,
            model=model,
            step_function=traced,
            loader=loader,
            config=config,
            runtime=context.runtime,
            optim=section.optim,
            checkpointer=Checkpointer(context.resume, world, keep=context.runtime.keep_checkpoints),
            validate=validate,
            objective=objective,
            on_row=on_row,
            seed=seed,
            heads=heads,
            peak_flops=context.launch.peak_flops,
        )
    progress.close()
    if world.is_main:
        with Journal(context.out(folder) / "history.jsonl") as history:
            history.append(*({**row, "is_result": row["step"] == state.result_step} for row in state.rows))
    return state


def _traced(step_function: TrainStep, context: StageContext) -> Traced:
    """One file a rank, beside the workspace's other records: what a stage puts out does not depend on being looked at."""
    return Traced(
        step_function,
        context.root / ".wmtp" / "traces" / f"{context.name}-rank{context.rank}.json.gz",
        first=context.runtime.trace_step,
        num_steps=context.runtime.trace_num_steps,
        say=lambda line: print(line, flush=True),
    )


def _section_of(stage: str) -> str:
    return "tune_reference" if stage == "tune_wrong" else stage


def train_loader(
    world: World, data: TokenData, config: TrainConfig, seed: int, *, shuffle: bool, where: str = "train_policy"
) -> TrainLoader:
    """This rank's micro-batches as configured; `shuffle`: see `TrainLoader`; `where`: the section that `config` is of.

    Raises:
        ConfigError: the batch cannot be dealt out to the ranks.
    """
    try:
        return TrainLoader(
            data,
            batch_size=config.global_batch_size,
            num_micro=1 if config.micro_batch_tokens else config.global_batch_size // config.micro_batch_size,
            micro_tokens=config.micro_batch_tokens,
            shuffle=shuffle,
            seed=seed,
            rank=world.rank,
            world_size=world.size,
        )
    except ValueError as error:
        raise ConfigError(f"{where}.train.{error}") from None


def summary(context: StageContext, world: World, state: LoopState, num_parameters: int) -> dict[str, Any]:
    """What every training stage's summary.json starts with: the whole training's cost, and the model that is its result."""
    last, result = state.rows[-1], state.result_row
    return {
        "stage": context.stage,
        "run": context.run,
        "num_parameters": num_parameters,
        "steps": state.step,
        "tokens": state.tokens,
        "wall_s": state.time_s,
        "tokens_per_s": last["perf/tokens_per_s"],
        "model_flops": state.flops,
        "peak_memory_bytes": last["perf/peak_memory_bytes"],
        "valid_token_ratio": last.get("data/valid_token_ratio"),
        "world_size": world.size,
        "result_step": state.result_step,
        "result_tokens": result["tokens"],
        "result": {key: value for key, value in result.items() if key.startswith(("train/", "val/", "weight/"))},
    }


def copy_tokenizer(context: StageContext, folder: Path) -> None:
    """The tokenizer's files beside the model's, as Hugging Face expects them."""
    for path in context.tokenizer.iterdir():
        shutil.copyfile(path, folder / path.name)


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters, shared ones once (call it before sharding or after: DTensors count whole)."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
