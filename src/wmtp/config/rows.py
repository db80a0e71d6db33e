"""The given files' rows, and what is asked of them against how many there are, before anything starts where that is quick."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmtp import tasksets
from wmtp.checks import require
from wmtp.config.consistency import examples_of_problem, require_batch
from wmtp.config.data import benchmark_path
from wmtp.config.inputs import is_hub_id
from wmtp.errors import ConfigError, DataError
from wmtp.problems.documents import read_documents
from wmtp.problems.files import Reading
from wmtp.problems.splits import files_of, with_split

if TYPE_CHECKING:
    from wmtp.config.data import DataConfig
    from wmtp.config.schema import Config

READ_BYTES, FIRST_ROWS = 16 * 2**20, 100
"""Files of at most so many bytes are read to the end, in a second at most; of larger ones the first rows, which tell whether it
is the right format. `sample` says what else is wrong."""

Asked = dict[str, int]
"""Keys of `data` -> numbers of rows."""

_Read = Callable[..., Iterator[Any]]
"""A path and `reading` -> what it holds."""


def refused_rows(root: Path, config: Config, unread: Collection[str] = ()) -> Iterator[tuple[str, ConfigError | DataError]]:
    """What of the given files a run would be refused for, by key: a row that cannot be read, or too few of them.

    A row is one problem or one document: of a file with fewer of them than asked for, no stage could make enough.

    Args:
        unread: keys of files that are not looked at.
    """
    data, counts = config.data, dict[str, int | None]()
    for key, path, load, reading in _files(root, data):
        if key not in unread:
            try:
                counts[key] = _count(path, load, reading)
            except DataError as error:
                yield key, error
    for name, asked in _asked(data):
        number = counts.get(f"data.{name}")
        if number is not None:
            try:
                _require_enough(config, name, asked, number)
            except ConfigError as error:
                yield str(error).partition("=")[0], error


def _files(root: Path, data: DataConfig) -> Iterator[tuple[str, str, _Read, Reading]]:
    """Keys and paths of what is given here, and how `sample` reads each."""
    load = partial(read_documents, kind=data.source, field=data.document_field) if data.is_documents else _of(data.source)
    for name in ("train_path", "validation_path", "test_path", "reference_path"):
        path = None if data.is_generated else getattr(data, name)
        if path is not None and not is_hub_id(path, "data"):
            split = "train" if name == "reference_path" else name.removesuffix("_path")
            is_held_out = name in ("validation_path", "test_path")
            reading = Reading(0.0 if is_held_out else data.max_bad_frac, needs_tests=is_held_out and not data.is_documents)
            yield f"data.{name}", with_split(str(root / path), split), load, reading
    for i, entry in enumerate(data.benchmarks):
        path = benchmark_path(entry)
        if not is_hub_id(path, "data"):
            yield f"data.benchmarks[{i}]", str(root / path), _of(entry.partition(":")[0]), Reading()


def _of(source: str) -> _Read:
    return partial(tasksets.load_problems, source)


def _require_enough(config: Config, name: str, asked: Asked, number: int) -> None:
    """
    Raises:
        ConfigError: names the first key that asks for more rows than there are.
    """
    data = config.data
    file, left = f"data.{name}={getattr(data, name)}", number
    for key, rows in asked.items():
        beside = "" if left == number else f", {number - left} of which are set aside"
        require(rows <= left, f"data.{key}", getattr(data, key), f"{file} has {number} rows{beside}")
        left -= 0 if key == "num_problems" else rows
    per_row = examples_of_problem(data)
    for section, batch in (_batches(config) if name == "train_path" else {}).items():
        require_batch(section, batch, left * per_row, f"the {left} rows of {file} that are left to train on")


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


def _count(path: str, load: _Read, reading: Reading) -> int | None:
    """Good rows of a file or folder; None where it is large, and only begun.

    Raises:
        DataError: a row that is read and cannot be; where some may be so and it is large, none of the first that can.
    """
    if sum(file.stat().st_size for file in files_of(path)) <= READ_BYTES:
        return sum(1 for _ in load(path, reading=reading))
    begun = replace(reading, most_rows=FIRST_ROWS, max_bad_frac=1.0 if reading.max_bad_frac else 0.0)
    good = sum(1 for _ in load(path, reading=begun))
    if not good and begun.bad_rows:
        raise DataError(begun.bad_rows[0])
    return None
