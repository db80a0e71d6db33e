"""Whether what the configuration names to read is there and serves, before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wmtp.checks import require
from wmtp.config.beside import facts_due, read_results, require_alike
from wmtp.config.inputs import MADE, Given, from_hub, given, is_hub_id, pinned
from wmtp.config.rows import refused_rows
from wmtp.errors import ConfigError, DataError, ModelError
from wmtp.model_files import require_model, tokenizer_files
from wmtp.model_types import require_causal
from wmtp.places import home
from wmtp.same_tokenizer import require_same_tokenizer

if TYPE_CHECKING:
    from wmtp.config.schema import Config


def require_given(root: Path, config: Config) -> None:
    """Everything that is to be read is there, or is a hub id with a revision; models that are there are of a known kind and
    whole, to the end of every file of weights, and have the data's tokenizer; files have rows that can be read, and as many as
    are asked of them; results are of evaluations like the runs'.

    Raises:
        ConfigError: names the first key of which that is not so.
        DataError: a file of data that cannot be read.
    """
    for _, error in refused(root, config):
        raise error


def refused(root: Path, config: Config) -> Iterator[tuple[str, ConfigError | DataError]]:
    """Everything that `require_given` would refuse, by key: each thing on its own, as far as others let it be looked at."""
    bad = set[str]()

    def errors() -> Iterator[tuple[str, ConfigError | DataError]]:
        for one in given(config):
            yield from _told(one.key, partial(_require_one, root, one))
        yield from _other_tokenizers(root, config, bad)
        yield from _other_results(root, config, bad)
        yield from refused_rows(root, config, bad)

    for key, error in errors():
        bad.add(key)
        yield key, error


def _told(key: str, check: Callable[[], None]) -> Iterator[tuple[str, ConfigError | DataError]]:
    try:
        check()
    except (ConfigError, DataError) as error:
        yield key, error


_BRANCHES = ("main", "master", "HEAD")


def _require_one(root: Path, one: Given) -> None:
    there = (root / (one.value if is_hub_id(one.value, one.kind) else one.path)).exists()
    if is_hub_id(one.value, one.kind):
        hint = f"both a hub id and a path in {root}: write ./{one.value} for what lies here"
        require(not there, one.key, one.value, hint)
        is_branch = one.value.rpartition("@")[2] in _BRANCHES
        require(not is_branch, one.key, one.value, "a commit or a tag in its place: what a branch holds changes")
    elif not there:
        elsewhere = f"; of the hub: {pinned(one.kind)}" if from_hub(one.kind) else ""
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
    if one.kind == "tokenizer" and there:
        hint = "a folder with a tokenizer (tokenizer.json, tokenizer_config.json)"
        require(bool(tokenizer_files(root / one.value)), one.key, one.value, hint)


def _other_tokenizers(root: Path, config: Config, bad: Collection[str]) -> Iterator[tuple[str, ConfigError | DataError]]:
    """What is on this machine is compared here, before anything starts; what is downloaded, by the stages that read it."""
    there = {one.key: one for one in given(config) if not is_hub_id(one.value, one.kind) and one.key not in bad}
    tokenizer = there.pop("data.tokenizer.path", None)
    if tokenizer is None:
        return
    for one in there.values():
        if one.kind == "model" and (root / one.value).is_dir():
            same = partial(require_same_tokenizer, root / tokenizer.value, root / one.value, f"{one.key}={one.value}")
            yield from _told(one.key, same)


def _other_results(root: Path, config: Config, bad: Collection[str]) -> Iterator[tuple[str, ConfigError | DataError]]:
    """What stands beside the arms has to be drawn as they are; whether of the same problems, the report says."""

    def check(one: Given) -> None:
        where = f"{one.key}={one.value}"
        require_alike(read_results(root / one.value, where), facts_due(config.evaluate), where)

    for one in given(config):
        if one.kind == "results" and one.key not in bad:
            yield from _told(one.key, partial(check, one))
