"""What no section can see for itself: values that contradict each other across sections, and numbers that are none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from wmtp.checks import require
from wmtp.config.arms import plain, with_inner
from wmtp.config.training import ATTENTION, ATTENTION_ON_GPUS
from wmtp.errors import ConfigError
from wmtp.weightings.base import VALUE

if TYPE_CHECKING:
    from wmtp.config.arms import ArmConfig
    from wmtp.config.data import DataConfig
    from wmtp.config.schema import Config
    from wmtp.config.training import ModelConfig


def require_consistent(config: Config) -> None:
    """
    Raises:
        ConfigError: names the first key that does not go with the others, its value, and what would.
    """
    for key, value in _leaves(plain(config), ""):
        require(not isinstance(value, float) or math.isfinite(value), key, value, "a finite number")
    _require_heads(config)
    _require_evaluation(config)
    _require_schedules(config)
    _require_gamma(config)
    _require_batches(config)
    _require_solutions(config)
    number, k = config.evaluate.num_samples, config.report.k
    require(max(k) <= number, "report.k", k, f"at most evaluate.num_samples={number}, each of them")
    taken = "another name: in the report's metrics.json the critics' numbers have this one"
    require("critic" not in config.arms, "arms", "critic", taken)
    for name, folder in config.report.beside.items():
        require(name not in config.arms, f"report.beside.{name}", folder, "another name: an arm has this one")
        require(name != "critic", f"report.beside.{name}", folder, taken)
        rule = f"absent: data.source={config.data.source} gives documents, of which `wmtp evaluate` knows nothing"
        require(not config.data.is_documents, f"report.beside.{name}", folder, rule)
    source, benchmark = config.data.source, config.evaluate.benchmark
    rule = f"the test problems are data.source={source}'s, so use {source}, or null for the same"
    require(benchmark == source, "evaluate.benchmark", benchmark, rule)
    for name in ("train_path", "validation_path", "reference_path", "test_path") if config.data.is_generated else ():
        value = getattr(config.data, name)
        require(value is None, f"data.{name}", value, f"null: data.source={source} makes its problems itself and reads no file")


def _leaves(tree: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(tree, list):
        for position, value in enumerate(tree):
            yield from _leaves(value, f"{key}[{position}]")
    else:
        yield key, tree


def _require_heads(config: Config) -> None:
    """A head that looks past the longest example would never have a target; heads are counted among the layers."""
    model, longest = config.train_policy.model, config.data.max_length
    heads = {"train_policy.model.n_future": (model.n_future, model.head_stride)}
    for name, arm in config.arms.items():
        stride, key = _arms_model(name, arm, model).head_stride, "head_stride" if arm.n_future is None else "n_future"
        if arm.n_future is not None or arm.head_variant is not None:
            heads[f"arms.{name}.{key}"] = (arm.n_future or model.n_future, stride)
    numbers = config.train_policy.heads
    for key, (n_future, stride) in heads.items():
        named = n_future <= model.n_future or not (numbers.loss_weights.final or numbers.lr_factors.final)
        require(named, key, n_future, f"at most {model.n_future}, which train_policy.heads has numbers for")
        reach = 1 + (n_future - 1) * stride
        strides = f" (with a stride of {stride} its last head looks {reach} tokens ahead)" if stride > 1 else ""
        looks = stride if key.endswith("head_stride") else n_future
        require(reach < longest, key, looks, f"less than data.max_length={longest}{strides}")
        has_trunk = n_future == 1 or n_future < model.n_layers or model.pretrained is not None
        require(
            has_trunk, key, n_future, f"1, or less than train_policy.model.n_layers={model.n_layers}, which counts the heads"
        )


def _require_evaluation(config: Config) -> None:
    """What is asked of the evaluation is there: positions for a completion, problems, heads that propose."""
    evaluate, data, model = config.evaluate, config.data, config.train_policy.model
    if not data.is_documents:
        longest, number = data.max_length, data.num_test_problems
        fits = model.pretrained is not None or evaluate.max_new_tokens < longest
        rule = f"less than data.max_length={longest}, the positions that the model has for prompt and completion"
        require(fits, "evaluate.max_new_tokens", evaluate.max_new_tokens, rule)
        there = evaluate.limit is None or evaluate.limit <= number
        require(there, "evaluate.limit", evaluate.limit, f"at most data.num_test_problems={number}, or null for all of them")
    models = [_arms_model(name, arm, model) for name, arm in config.arms.items()]
    most = max(((one.n_future - 1) * one.head_stride for one in models), default=config.runtime.num_drafts)
    rule = f"at most {most}, what the further heads of the arms can propose"
    require(config.runtime.num_drafts <= most, "runtime.num_drafts", config.runtime.num_drafts, rule)


def _arms_model(name: str, arm: ArmConfig, model: ModelConfig) -> ModelConfig:
    """See `ArmConfig.model`; an error names the arm's key."""
    try:
        return arm.model(model)
    except ConfigError as error:
        raise ConfigError(str(error).replace("model.", f"arms.{name}.", 1)) from None


def _require_schedules(config: Config) -> None:
    """Schedules over steps that come to what they are for."""
    for name in ("tune_reference", "train_critic", "train_policy"):
        section = getattr(config, name)
        warmup, steps = section.optim.warmup_steps, section.train.steps
        require(warmup <= steps, f"{name}.optim.warmup_steps", warmup, f"at most {name}.train.steps={steps}")
    critic = config.train_critic
    begins = critic.lambda_final == 1 or critic.lambda_hold_steps < critic.train.steps
    rule = f"less than train_critic.train.steps={critic.train.steps}, or train_critic.lambda_final=1.0"
    require(begins, "train_critic.lambda_hold_steps", critic.lambda_hold_steps, rule)


def _require_gamma(config: Config) -> None:
    """Advantages discount as the values that they are made of did."""
    for name, arm in config.arms.items():
        for one in with_inner(arm.weighting):
            gamma = getattr(one, "gamma", None)
            fits = gamma is None or VALUE not in one.needs.columns or gamma == config.train_critic.gamma
            rule = f"train_critic.gamma={config.train_critic.gamma}, which the values are trained with"
            require(fits, f"arms.{name}.weighting.gamma", gamma, rule)


def _require_solutions(config: Config) -> None:
    """What needs right and wrong solutions, or an example a row, has none in documents."""
    if not config.data.is_documents:
        return
    source = config.data.source
    for name, arm in config.arms.items():
        rule = f"all: data.source={source} gives documents, which nobody calls right or wrong"
        require(arm.solutions == "all", f"arms.{name}.solutions", arm.solutions, rule)
        for one in with_inner(arm.weighting):
            rule = f"a weighting of tokens: data.source={source} gives documents in packed rows, and {one.name} is of solutions"
            require(not one.of_solutions, f"arms.{name}.weighting.name", one.name, rule)


def _require_batches(config: Config) -> None:
    """Where the number of problems is known, so is the most examples that they can make."""
    data = config.data
    if data.is_documents:
        return  # a long one makes many rows
    known = {"tune_reference": data.num_reference_problems}
    if data.num_problems is not None:
        known |= dict.fromkeys(("train_critic", "train_policy"), data.num_problems)
    for name, number in known.items():
        batch = getattr(config, name).train.global_batch_size
        require_batch(name, batch, number * examples_of_problem(data), "the configured problems")


def examples_of_problem(data: DataConfig) -> int:
    """The most that one can make."""
    return max(data.max_per_problem, 1 + data.mutants_per_solution)


def require_batch(section: str, batch: int, most: int, problems: str) -> None:
    """Raises ConfigError: a batch of more than `most` examples, which is what `problems` can make."""
    rule = f"at most {most}, the examples that {problems} can make"
    require(batch <= most, f"{section}.train.global_batch_size", batch, rule)


def require_trainable(config: Config, device: str, num_ranks: int) -> None:
    """
    Args:
        device: as in `LaunchConfig`; of `auto` nothing is known yet.
    Raises:
        ConfigError: a training that runs has batches that so many ranks cannot share evenly, or needs another device; names
            the key.
    """
    makers = {"tune_reference": ("reference", "wrong"), "train_critic": ("value",)}
    trained = [section for section, groups in makers.items() if any(config.columns.get(group) for group in groups)]
    for section in (*trained, "train_policy"):
        train = getattr(config, section).train
        key = "global_batch_size" if train.micro_batch_tokens else "micro_batch_size"
        size = getattr(train, key)
        rule = f"a multiple of {num_ranks}, the ranks that share it"
        require(size % num_ranks == 0, f"{section}.train.{key}", size, rule)
        runs = device != "cpu" or train.attention not in ATTENTION_ON_GPUS
        rule = f"null, {' or '.join(ATTENTION)} without GPUs (WMTP_LAUNCH)"
        require(runs, f"{section}.train.attention", train.attention, rule)
