"""A source's problems and solutions, read once: columns to choose by, and texts that are only read where they are chosen.

A store is a folder that is whole or absent, named after the content of the source's files and the code that reads them. Clones
that share a DVC cache share it. `solutions.arrow` has a row for every distinct solution, `problems.arrow` one for every
problem; both are mapped into memory and never loaded whole.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wmtp import tasksets
from wmtp.errors import DataError
from wmtp.files import sync, temporary_sibling, write_json
from wmtp.problems.choose import UNKNOWN, Candidates
from wmtp.problems.draw import keys_of, solution_keys
from wmtp.problems.files import Reading, problem_from_record, record_of
from wmtp.problems.records import Notes
from wmtp.problems.splits import files_of
from wmtp.progress import OnProgress
from wmtp.tokens.tables import read_table
from wmtp.types import Problem, Solution

PROBLEMS = pa.schema(
    [
        ("problem_id", pa.string()),
        ("statement", pa.large_string()),
        ("prompt", pa.large_string()),
        ("record", pa.large_string()),
        ("file", pa.int32()),
        ("row", pa.int64()),
        ("difficulty", pa.int32()),
        ("num_tests", pa.int32()),
        ("split", pa.string()),
    ]
)
"""`statement` as it was given, `prompt` as training shows it, `record`: the problem without solutions as a line of JSON;
`file`: the number of the source's file; `difficulty` is null where it is unknown; `split`: see `TaskSet`."""

SOLUTIONS = pa.schema(
    [
        ("problem", pa.int32()),
        ("is_correct", pa.bool_()),
        ("language", pa.string()),
        ("key", pa.uint64()),
        ("characters", pa.int32()),
        ("code", pa.large_string()),
        ("place", pa.string()),
    ]
)
"""`problem`: the number of its row; `key`: see `wmtp.problems.draw`; `language`, `place`: see `Solution`."""

BATCH_CHARACTERS = 2**23
"""Texts that are in memory at the same time while a source is read."""

_CODE = ("wmtp.problems", "wmtp.tasksets", "wmtp.types", "wmtp.tokens.tables", "wmtp.examples.store")


@dataclass(frozen=True, eq=False)
class Store:
    """What was read of one source. `files`: what its files are called now; `reading`: what was not taken as it is.

    `num_solutions`: of the problems, those that stand there twice included.
    """

    problems: pa.Table
    solutions: pa.Table
    files: tuple[str, ...]
    reading: Reading
    num_solutions: int

    @cached_property
    def candidates(self) -> Candidates:
        """The columns that solutions are chosen by."""
        return Candidates(*(self.solutions[name].to_numpy() for name in ("problem", "is_correct", "key")))

    @cached_property
    def problem_ids(self) -> list[str]:
        """(P,)"""
        return self.column("problem_id")

    @cached_property
    def problem_keys(self) -> np.ndarray:
        """(P,), uint64"""
        return keys_of(self.problem_ids)

    @cached_property
    def difficulties(self) -> np.ndarray:
        """`UNKNOWN` where they are, (P,)."""
        return self.problems["difficulty"].fill_null(UNKNOWN).to_numpy()

    @cached_property
    def prompts(self) -> list[str]:
        """(P,)"""
        return self.column("prompt")

    def column(self, name: str) -> list[Any]:
        """A column of the problems, as Python has it."""
        values: list[Any] = self.problems[name].to_pylist()
        return values

    def codes(self, rows: np.ndarray) -> list[str]:
        """Texts of the solutions `rows`, in their order."""
        return _taken(self.solutions["code"], rows)

    def problem(self, number: int, rows: np.ndarray) -> Problem:
        """The problem with the solutions `rows`, in their order."""
        record = json.loads(self.problems["record"][number].as_py())
        labels = self.candidates.is_correct[rows].tolist()
        places, languages = (_taken(self.solutions[name], rows) for name in ("place", "language"))
        solutions = tuple(map(Solution, self.codes(rows), labels, places, languages))
        file, row = self.files[self.problems["file"][number].as_py()], self.problems["row"][number].as_py()
        return replace(problem_from_record(record, f"{file}: row {row}", Notes()), solutions=solutions, file=file, row=row)


class Stores(NamedTuple):
    """The folder with all of them. `on_progress` is told how many of a file's rows are read, where their number is known."""

    folder: Path
    on_progress: OnProgress = lambda done, total: None


def stored(source: str, path: str, reading: Reading, stores: Stores) -> Store:
    """A source's store, made where there is none.

    Args:
        source: name of the task set that reads it; path: see `files_of`.
        reading: how many rows may be bad.
    Raises:
        DataError: what `load_problems` raises; more bad rows than may be.
    """
    parts = files_of(path)
    if not parts:
        raise DataError(f"{path} does not exist")
    files = tuple(map(str, parts))
    folder, place = stores.folder, stores.folder / _key(source, parts)
    if not place.exists():
        temporary = temporary_sibling(place, uuid.uuid4().hex[:12])
        temporary.mkdir(parents=True)
        try:
            _import(source, path, reading, files, temporary, stores.on_progress)
            os.rename(temporary, place)
            sync(folder)
        except OSError:
            if not place.exists():  # else another process was first
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    about = json.loads((place / "reading.json").read_text(encoding="utf-8"))
    notes = Notes(**{name: about["notes"][name] for name in ("left_out", "unknown")})
    bad_rows = [_named(row, files) for row in about["bad_rows"]]
    found = replace(reading, notes=notes, bad_rows=bad_rows, num_rows=about["num_rows"])
    found.check(path)
    problems, solutions = (read_table(place / f"{name}.arrow") for name in ("problems", "solutions"))
    return Store(problems, solutions, files, found, about["num_solutions"])


def distinct(problem: Problem) -> Problem:
    """With each of its solutions once, and where each one stands in its record."""
    once: dict[tuple[str, bool], Solution] = {}
    for i, each in enumerate(problem.solutions):
        placed = each if each.place else replace(each, place=f"solutions[{i}]")
        once.setdefault((each.code, each.is_correct), placed)
    return replace(problem, solutions=tuple(once.values()))


def _import(source: str, path: str, reading: Reading, files: Sequence[str], folder: Path, on_progress: OnProgress) -> None:
    taskset, num_solutions, num_rows = tasksets.get(source), 0, sum(map(_num_rows, files))
    with _Writer(folder / "problems.arrow", PROBLEMS) as problems, _Writer(folder / "solutions.arrow", SOLUTIONS) as solutions:
        for number, given in enumerate(tasksets.load_problems(source, path, reading)):
            num_solutions += len(given.solutions)
            problem = distinct(given)
            codes = [solution.code for solution in problem.solutions]
            record = json.dumps(record_of(replace(problem, solutions=())))
            problems.append(
                len(record),
                problem_id=[problem.problem_id],
                statement=[problem.prompt],
                prompt=[taskset.prompt(problem)],
                record=[record],
                file=[files.index(problem.file)],
                row=[problem.row],
                difficulty=[problem.difficulty],
                num_tests=[len(problem.tests)],
                split=[taskset.split(problem)],
            )
            solutions.append(
                sum(map(len, codes)),
                problem=[number] * len(codes),
                is_correct=[solution.is_correct for solution in problem.solutions],
                language=[solution.language for solution in problem.solutions],
                key=solution_keys(problem.problem_id, codes).tolist(),
                characters=[len(code) for code in codes],
                code=codes,
                place=[solution.place for solution in problem.solutions],
            )
            if number + 1 < num_rows:
                on_progress(number + 1, num_rows)
    if num_rows:
        on_progress(num_rows, num_rows)
    notes = {"left_out": reading.notes.left_out, "unknown": reading.notes.unknown}
    about = {"notes": notes, "num_rows": reading.num_rows, "num_solutions": num_solutions}
    write_json(folder / "reading.json", about | {"bad_rows": [_nameless(row, files) for row in reading.bad_rows]})


def _num_rows(file: str) -> int:
    """Of a file that tells it without being read as records; 0 of another."""
    path = Path(file)
    if path.suffix == ".parquet":
        return int(pq.read_metadata(path).num_rows)
    if path.suffix != ".jsonl":
        return 0
    with path.open("rb") as lines:
        return sum(part.count(b"\n") for part in iter(lambda: lines.read(2**20), b""))


class _Writer:
    """Rows of an Arrow file, a batch in memory at a time."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file, self._schema, self._size = open(path, "wb"), schema, 0  # noqa: SIM115 -- open as long as the writer
        self._writer = pa.ipc.new_stream(self._file, schema)
        self._columns: dict[str, list[Any]] = {name: [] for name in schema.names}

    def append(self, size: int, **columns: list[Any]) -> None:
        """Some rows by column, `size` characters of texts."""
        for name, values in columns.items():
            self._columns[name] += values
        self._size += size
        if self._size >= BATCH_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_batch(pa.record_batch(self._columns, schema=self._schema))
        self._columns, self._size = {name: [] for name in self._schema.names}, 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._file:
            if kind is None:
                self._flush()
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())


def _key(source: str, parts: Sequence[Path]) -> str:
    """Of what the files hold, in their order, and of the code that reads them."""
    digest = hashlib.sha256(f"{source} {pa.__version__} {sys.version_info[:2]}".encode())
    for path in parts:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest() + "".join(path.suffixes).encode())
    for path in _code():
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def _code() -> Iterator[Path]:
    for name in _CODE:
        path = Path(inspect.getfile(sys.modules[name]))
        yield from sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]


def _taken(column: pa.ChunkedArray, rows: np.ndarray) -> list[Any]:
    """`rows` of a column, in their order, without the rest of it (which `take` of all chunks would put together)."""
    ends = np.cumsum([len(chunk) for chunk in column.chunks])
    values = np.empty(len(rows), dtype=object)
    where = np.searchsorted(ends, rows, side="right")
    for i in np.unique(where):
        own = np.flatnonzero(where == i)
        chunk = column.chunk(int(i))
        values[own] = chunk.take(pa.array(rows[own] - (ends[i] - len(chunk)))).to_pylist()
    return list(values)


def _nameless(text: str, files: Sequence[str]) -> str:
    for i in sorted(range(len(files)), key=lambda i: -len(files[i])):
        text = text.replace(files[i], f"\0{i}\0")
    return text


def _named(text: str, files: Sequence[str]) -> str:
    for i, file in enumerate(files):
        text = text.replace(f"\0{i}\0", file)
    return text
