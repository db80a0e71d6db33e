"""What is asked of the given files against the rows that they have, before anything starts, where counting them is quick."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from wmtp.checks import require
from wmtp.config.consistency import examples_of_problem, require_batch
from wmtp.config.inputs import is_hub_id
from wmtp.problems.records import read_rows
from wmtp.problems.splits import files_of, with_split

if TYPE_CHECKING:
    from wmtp.config.data import DataConfig
    from wmtp.config.schema import Config

COUNTED_BYTES = 64 * 2**20
"""Larger files are not counted: `sample` says what they lack."""

Asked = dict[str, int]
"""Keys of `data` -> numbers of rows."""


def require_rows(root: Path, config: Config) -> None:
    """A row is one problem or one document: of a file with fewer of them than asked for, no stage could make enough.

    Raises:
        ConfigError: names the first key that asks for more than there is.
        DataError: a file that cannot be read.
    """
    data = config.data
    for name, asked in _asked(data):
        path = getattr(data, name)
        if path is None or is_hub_id(path, "data"):
            continue
        batches = _batches(config) if name == "train_path" else {}
        more = max((math.ceil(batch / examples_of_problem(data)) for batch in batches.values()), default=0)
        number = _count(str(root / path), name.removesuffix("_path"), sum(asked.values()) + more)
        if number is None:
            continue
        file, left = f"data.{name}={path}", number
        for key, rows in asked.items():
            beside = "" if left == number else f", {number - left} of which are set aside"
            require(rows <= left, f"data.{key}", getattr(data, key), f"{file} has {number} rows{beside}")
            left -= 0 if key == "num_problems" else rows
        for section, batch in batches.items():
            require_batch(
                section, batch, left * examples_of_problem(data), f"the {left} rows of {file} that are left to train on"
            )


def _asked(data: DataConfig) -> Iterator[tuple[str, Asked]]:
    """Names of paths, and what is taken from each, one after another."""
    if data.is_generated:
        return
    aside = {"num_validation_problems": data.num_validation_problems} if data.is_documents and not data.validation_path else {}
    aside |= {"num_reference_problems": data.num_reference_problems} if data.reference_path is None else {}
    yield "train_path", aside | {"num_problems": 1 if data.num_problems is None else data.num_problems}
    yield "validation_path", {"num_validation_problems": data.num_validation_problems}
    if not data.is_documents:
        yield "validation_path" if data.test_path is None else "test_path", {"num_test_problems": data.num_test_problems}


def _batches(config: Config) -> dict[str, int]:
    """Of the trainings on all that the training file holds, where a row cannot make many examples."""
    if config.data.num_problems is not None or config.data.is_documents:
        return {}
    sections = ("train_critic", "train_policy") if config.columns["value"] else ("train_policy",)
    return {name: getattr(config, name).train.global_batch_size for name in sections}


def _count(path: str, split: str, most: int) -> int | None:
    """Rows of a file or folder, `most` at the most; None where it is large."""
    path = with_split(path, split)
    if sum(file.stat().st_size for file in files_of(path)) > COUNTED_BYTES:
        return None
    return sum(1 for _ in islice(read_rows(path), most))
