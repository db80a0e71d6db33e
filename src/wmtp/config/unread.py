"""Overrides that nothing would read beside the other settings: they would make stages stale and change nothing."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from wmtp.errors import ConfigError

if TYPE_CHECKING:
    from wmtp.config.schema import Config, TrainPolicyConfig

_TRAINED = "(?:tune_reference|train_critic|train_policy)"


def _trained(config: Config, key: str) -> TrainPolicyConfig:
    """The section of a key; the three have a model, an optimizer and a loop alike."""
    return typing.cast("TrainPolicyConfig", getattr(config, key.partition(".")[0]))


_READ: tuple[tuple[str, Callable[[Config, str], bool], str], ...] = (
    (r"data\.(operations|heldout_frac)", lambda c, key: c.data.source == "synthetic", "data.source=synthetic"),
    (r"data\.text_field", lambda c, key: c.data.source == "text", "data.source=text"),
    (r"data\.messages_field", lambda c, key: c.data.source == "messages", "data.source=messages"),
    (
        r"data\.(labels|timeouts|max_bad_frac|max_similarity|benchmark_\w+)",
        lambda c, key: c.data.source != "synthetic",
        "another data.source than synthetic",
    ),
    (r"data\.verified_frac", lambda c, key: c.data.labels == "sampled", "data.labels=sampled"),
    (r"data\.mutants", lambda c, key: c.data.mutants_per_solution > 0, "data.mutants_per_solution above 0"),
    (r"data\.noise\.(?!frac)\w+", lambda c, key: c.data.noise.frac > 0, "data.noise.frac above 0"),
    (r"data\.tokenizer\.(?!path)\w+", lambda c, key: c.data.tokenizer.path is None, "a tokenizer that is learnt"),
    (
        rf"{_TRAINED}\.model\.(\w+_size|n_layers|n_heads|n_kv_heads|rope_theta|tie_embeddings)",
        lambda c, key: _trained(c, key).model.pretrained is None,
        "model.pretrained=null: such a model has its own",
    ),
    (
        rf"{_TRAINED}\.model\.head_init",
        lambda c, key: _trained(c, key).model.pretrained is not None,
        "model.pretrained: all of another model is new",
    ),
    (rf"{_TRAINED}\.model\.lora\.(?!rank)\w+", lambda c, key: _trained(c, key).model.lora.rank > 0, "model.lora.rank above 0"),
    (rf"{_TRAINED}\.optim\.muon_lr", lambda c, key: _trained(c, key).optim.name == "muon", "optim.name=muon"),
    (
        rf"{_TRAINED}\.optim\.min_lr_frac",
        lambda c, key: _trained(c, key).optim.schedule != "constant",
        "another optim.schedule than constant",
    ),
    (
        rf"{_TRAINED}\.train\.micro_batch_size",
        lambda c, key: _trained(c, key).train.micro_batch_tokens is None,
        "train.micro_batch_tokens=null",
    ),
    (r"train_critic\.lambda_(hold|ramp)_steps", lambda c, key: c.train_critic.lambda_final < 1, "lambda_final below 1"),
)
"""Which keys are read where alone: their names, whether they are in a configuration, and what it takes."""


def needs(key: str) -> str | None:
    """What it takes for a key to be read; None where it always is."""
    return next((unless for pattern, _, unless in _READ if re.fullmatch(pattern, key)), None)


def require_read(config: Config, keys: Iterable[str]) -> None:
    """
    Args:
        keys: of the overrides: dotted, of single values. What a profile says is its own affair: settings that are read with
            another optimizer may stand beside this one.
    Raises:
        ConfigError: names the first of them that nothing reads.
    """
    for key in keys:
        for pattern, is_read, unless in _READ:
            if re.fullmatch(pattern, key) and not is_read(config, key):
                raise ConfigError(f"{key} is not read here: it needs {unless}")
