"""Whether what the configuration names to read is there and serves, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wmtp.checks import require
from wmtp.config.inputs import MADE, given, is_hub_id, pinned
from wmtp.config.rows import require_rows
from wmtp.errors import ConfigError, ModelError
from wmtp.model_files import require_model, tokenizer_files
from wmtp.model_types import require_causal
from wmtp.places import home
from wmtp.same_tokenizer import require_same_tokenizer

if TYPE_CHECKING:
    from wmtp.config.schema import Config


def require_given(root: Path, config: Config) -> None:
    """Everything that is to be read is there, or is a hub id with a revision; models that are there are of a known kind and
    whole, to the end of every file of weights, and have the data's tokenizer; files have the rows that are asked of them.

    Raises:
        ConfigError: names the first key of which that is not so.
        DataError: a file of data that cannot be read.
    """
    for one in given(config):
        there = (root / (one.value if is_hub_id(one.value, one.kind) else one.path)).exists()
        if is_hub_id(one.value, one.kind):
            hint = f"both a hub id and a path in {root}: write ./{one.value} for what lies here"
            require(not there, one.key, one.value, hint)
        elif not there:
            elsewhere = f"; of the hub: {pinned(one.kind)}" if one.kind != "header" else ""
            hint = f"paths are relative to {root}{elsewhere}"
            if (home(root) / one.path).exists():
                hint = f"it lies in {home(root)}, and the first run here links it"
            raise ConfigError(f"{one.key}={one.value} does not exist ({hint})")
        made = (root / one.value).resolve().is_relative_to((root / MADE).resolve())
        hint = f"a path outside of {MADE}/, where stages replace what they make: copy it"
        require(not made or is_hub_id(one.value, one.kind), one.key, one.value, hint)
        if one.kind == "model" and there:
            try:
                require_model(root / one.value)
            except ModelError as error:
                raise ConfigError(f"{one.key}={one.value}: {error}") from None
            try:
                require_causal(str(root / one.value), f"{one.key}={one.value}")
            except ModelError as error:
                raise ConfigError(str(error)) from None
    _require_tokenizer(root, config)
    require_rows(root, config)


def _require_tokenizer(root: Path, config: Config) -> None:
    """What is on this machine is compared here, before anything starts; what is downloaded, by the stages that read it."""
    there = {one.key: one for one in given(config) if not is_hub_id(one.value, one.kind)}
    tokenizer = there.pop("data.tokenizer.path", None)
    if tokenizer is None:
        return
    folder = root / tokenizer.value
    hint = "a folder with a tokenizer (tokenizer.json, tokenizer_config.json)"
    require(bool(tokenizer_files(folder)), tokenizer.key, tokenizer.value, hint)
    for one in there.values():
        if one.kind == "model" and (root / one.value).is_dir():
            require_same_tokenizer(folder, root / one.value, f"{one.key}={one.value}")
