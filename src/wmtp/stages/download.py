"""What the configuration names by a hub id, fetched once into a folder that DVC keeps, restores and pushes."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath

from wmtp.config import Config
from wmtp.config.inputs import DOWNLOADS
from wmtp.errors import DataError
from wmtp.hub import fetch
from wmtp.model_files import require_model, tokenizer_files
from wmtp.problems.splits import FORMATS, of_split, path_format
from wmtp.stages.context import StageContext
from wmtp.types import StageResult

_TOKENIZER = (
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "*.jinja",
)
_SETTINGS = ("config.json", "generation_config.json", *_TOKENIZER)
_WEIGHTS = (("*.safetensors", "*.safetensors.index.json"), ("pytorch_model*.bin", "pytorch_model*.bin.index.json"))
"""Kinds of files, the better one first."""


def run(config: Config, context: StageContext) -> StageResult:
    """Write `artifacts/downloads/<key>`."""
    spec = config.downloads[context.run]
    out = context.out(f"{DOWNLOADS}/{context.run}")
    repo, revision = spec.source.split("@")
    print(f"{context.name}: fetching the {spec.kind} {spec.source}", flush=True)
    if spec.kind == "model":
        files = fetch(repo, revision, out, model_paths)
        require_model(out)
    elif spec.kind == "tokenizer":
        files = fetch(repo, revision, out, lambda paths: _matching(paths, _TOKENIZER))
        if not tokenizer_files(out):
            raise DataError(f"{spec.source} holds no tokenizer")
    else:
        repo, *names = repo.split(":")
        files = fetch(repo, revision, out, lambda paths: data_paths(paths, names, spec.source), is_dataset=True)
    return StageResult(counts={"files": len(files), "bytes": sum(path.stat().st_size for path in files)})


def model_paths(paths: Sequence[str]) -> list[str]:
    """A model's settings, its tokenizer and its weights, in the better format where there are two."""
    for patterns in _WEIGHTS:
        weights = _matching(paths, patterns)
        if weights:
            return [*_matching(paths, _SETTINGS), *weights]
    return _matching(paths, _SETTINGS)


def _matching(paths: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Of the files at the repository's root: copies for other programs lie deeper."""
    return [path for path in paths if "/" not in path and any(fnmatch(path, pattern) for pattern in patterns)]


def data_paths(paths: Sequence[str], names: Sequence[str], source: str) -> list[str]:
    """The files of a dataset's split: `names` is the split, or the configuration (a folder) and the split.

    Raises:
        DataError: there are none, with what there is.
    """
    *config, split = names
    tables = [path for path in paths if path_format(path) in FORMATS]
    folders = {str(PurePosixPath(path).parent) for path in tables}
    inside = [path for path in tables if not config or config[0] in PurePosixPath(path).parent.parts]
    if not inside:
        raise DataError(f"{source}: no configuration {config[0] if config else ''!r} among the folders {sorted(folders)}")
    chosen = of_split([PurePosixPath(path) for path in inside], split, source)
    if len({path.parent for path in chosen}) > 1:
        found = sorted({path.parent.name for path in chosen})
        raise DataError(f"{source}: split {split} is in several configurations, say which: {', '.join(found)}")
    return [str(path) for path in chosen]
