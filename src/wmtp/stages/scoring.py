"""What the scoring stages share: a model's column over whole tables, written where training joins it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from torch import nn

from wmtp.distributed import World, join_world
from wmtp.models.build import parallelize
from wmtp.models.mtp import MTPForCausalLM
from wmtp.models.packed import prove_packed
from wmtp.models.slices import open_heads
from wmtp.same_tokenizer import require_same_tokenizer
from wmtp.stages.context import StageContext
from wmtp.stages.counting import row_counts
from wmtp.tokens.data import TokenData, TokenMeta
from wmtp.tokens.tables import read_table
from wmtp.training.scoring import ScoreFunction, reference_nll, score_rows, write_scores
from wmtp.types import StageResult

if TYPE_CHECKING:
    from wmtp.config.schema import ScoreConfig


def frozen(model: nn.Module, world: World, dtype: str) -> nn.Module:
    """`model` sharded, to be computed in `dtype`, without dropout."""
    return parallelize(model, world.mesh, dtype=dtype, activation_checkpointing=False).eval()


def score_table(
    context: StageContext, world: World, score: ScoreFunction, data: TokenData, column: str, out: Path, batch_tokens: int
) -> np.ndarray:
    """Write `out/<table>.arrow` with `column`; its values flat like `data.tokens`. All ranks call it."""
    table = data.path.stem
    scratch = out / f".{table}.npy"
    flat = score_rows(
        world,
        data,
        score,
        scratch,
        batch_tokens=batch_tokens,
        say=lambda line: print(f"{context.name} {line}", flush=True),
    )
    if world.is_main:
        write_scores(out / f"{table}.arrow", data, column, flat)
        scratch.unlink()
    world.barrier()
    return flat[: len(data.tokens)]


def score_nll(
    context: StageContext,
    load: Callable[[TokenMeta], MTPForCausalLM],
    column: str,
    folder: str,
    *,
    tables: Sequence[str] = ("train",),
    section: ScoreConfig,
) -> StageResult:
    """The NLL of every token (prompt included) of `tables` by the model's head 0, as the output `folder`.

    Args:
        load: makes the model for tokens of this meta, on every rank alike.
    """
    out = context.out(folder)
    means: dict[str, float] = {}
    counts: dict[str, int] = {}
    scored: dict[bytes, Path] = {}
    with join_world(context.launch.device, seed=0, timeout_s=context.launch.collective_timeout_s) as world:
        all_data = [TokenData.open(context.input("artifacts/data"), table) for table in tables]
        model = frozen(load(all_data[0].meta), world, section.dtype)
        if all_data[0].segments is not None:
            prove_packed(cast("MTPForCausalLM", model), context.name, is_narrow=section.dtype == "bfloat16")
        score = reference_nll(model)
        for data in all_data:
            path = out / data.path.name
            if data.fingerprint in scored:  # the critic's rows may be the policy's
                if world.is_main:
                    shutil.copyfile(scored[data.fingerprint], path)
                continue
            scored[data.fingerprint] = path
            flat = score_table(context, world, score, data, column, out, section.batch_tokens)
            if world.is_main:
                means[f"{path.stem}/{column}"] = float(flat.mean(dtype="float64"))
        if world.is_main:
            counts = row_counts(*((data, read_table(out / data.path.name).num_rows) for data in all_data))
    context.tracker.log_metrics(means, step=0)
    return StageResult(metrics=means, counts=counts)


def load_tuned(context: StageContext, folder: str) -> MTPForCausalLM:
    """A language model that a stage has tuned.

    Raises:
        ConfigError: it has another tokenizer than the dataset. Losses are compared token by token, which means nothing across
            tokenizers.
    """
    require_same_tokenizer(context.tokenizer, context.input(folder), folder, "tune it on this dataset")
    return open_heads(context.input(folder), folder)
