"""What a folder of token tables holds, in numbers and examples: read from the folder alone, so that anyone can look again."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wmtp.ledger import Ledger, Line
from wmtp.tokens.encode import TextTokenizer
from wmtp.tokens.tables import read_meta, read_table
from wmtp.tokens.tokenizer import load_tokenizer

REMOVED = "removed.jsonl"
"""Training problems that were left out because of others, one a line (`wmtp.problems.decontaminate.Removed`)."""

NUM_REMOVED = 20
"""Of those, how many the card shows."""

NUM_BINS = 20
"""Bars of a histogram at most."""

TABLES = ("train", "reference", "validation", "critic_validation")
"""The critic's own table is the training table, row for row. Documents have none of the critic's."""


@dataclass(frozen=True)
class Histogram:
    """Bars in order: what each counts, and how often."""

    title: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Segment:
    """Text of a row that is all `prompt`, all `solution` or all `noise`, or the `boundary` between two documents in it."""

    text: str
    kind: str


@dataclass(frozen=True)
class RowCard:
    """One row to look at. `history`: its table's columns beside the tokens."""

    table: str
    row: int
    history: dict[str, Any]
    num_tokens: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class TableCard:
    """One table. `numbers`: by name, None where there is none; `outcomes`: rows by (label, origin, what the text did when run);
    `noise`: rows by kind, "" for clean ones; `languages`: rows by language, "" where the source does not say.
    """

    name: str
    numbers: dict[str, float | None]
    outcomes: dict[tuple[str, str, str], int]
    noise: dict[str, int]
    languages: dict[str, int]
    histograms: tuple[Histogram, ...]


@dataclass(frozen=True)
class DataCard:
    """Everything that the card shows. `files`: name, bytes, sha256 of what is in the folder; `sources`: of what was read.

    `removed`: the first records of removed.jsonl; `num_removed`: how many there are by (reason, how).
    """

    meta: dict[str, Any]
    ledger: tuple[Line, ...]
    tables: tuple[TableCard, ...]
    examples: tuple[RowCard, ...]
    files: tuple[tuple[str, int, str], ...]
    sources: tuple[tuple[str, int, str], ...]
    removed: tuple[dict[str, Any], ...] = ()
    num_removed: dict[tuple[str, str], int] = field(default_factory=dict)


def read_card(folder: Path) -> DataCard:
    """The card of what `sample` wrote to `folder`.

    Raises:
        DataError: a missing or broken file.
    """
    meta, text = read_meta(folder), load_tokenizer(folder / "tokenizer")
    removed = [json.loads(line) for line in (folder / REMOVED).read_text(encoding="utf-8").splitlines()]
    tables = {name: read_table(folder / f"{name}.arrow") for name in tables_in(folder)}
    return DataCard(
        meta=meta,
        ledger=tuple(Ledger.from_counts(meta["counts"]).lines.values()),
        tables=tuple(_table_card(name, table, meta) for name, table in tables.items()),
        examples=tuple(row_card(text, tables["train"], "train", row) for row in one_of_each(tables["train"])),
        files=tuple(hashes(folder, [path for path in sorted(folder.rglob("*")) if path.is_file()])),
        sources=tuple((name, size, digest) for name, size, digest in meta["sources"]),
        removed=tuple(removed[:NUM_REMOVED]),
        num_removed=dict(sorted(Counter((each["reason"], each["how"]) for each in removed).items())),
    )


def tables_in(folder: Path) -> list[str]:
    """Those of `TABLES` that the folder has: all, or of documents all but the critic's."""
    is_packed = "segment_lens" in read_table(folder / f"{TABLES[0]}.arrow").column_names
    return [name for name in TABLES if not (is_packed and name.startswith("critic"))]


def hashes(root: Path, paths: Sequence[Path]) -> list[tuple[str, int, str]]:
    """Name below `root` (the path as it is, where it is elsewhere), bytes and sha256 of every file."""
    found = []
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.relative_to(root) if path.is_relative_to(root) else path
        found.append((str(name), path.stat().st_size, digest))
    return found


def row_card(text: TextTokenizer, table: pa.Table, name: str, row: int) -> RowCard:
    """Row number `row` of the table called `name`."""
    values = table.slice(row, 1).to_pylist()[0]
    ids, noise = values.pop("input_ids"), np.asarray(values.pop("is_noise"), dtype=np.int8)
    is_answer = np.asarray(values.pop("is_target", None) or [True] * len(ids)) & (
        np.arange(len(ids)) >= values.pop("prompt_len")
    )
    kinds = np.where(is_answer, 1 + noise, 0)
    bounds = np.cumsum([0, *values.get("segment_lens", [len(ids)])])
    segments: list[Segment] = []
    for first, last in pairwise(bounds.tolist()):
        segments += [Segment("\n", "boundary")] if segments else []
        edges = [first, *(first + 1 + np.flatnonzero(np.diff(kinds[first:last]))).tolist(), last]
        segments += [Segment(text.decode(ids[a:b]), _KINDS[kinds[a]]) for a, b in pairwise(edges)]
    return RowCard(name, row, values, len(ids), tuple(segments))


_KINDS = ("prompt", "solution", "noise")


def one_of_each(table: pa.Table) -> list[int]:
    """The first row of every kind of noise, right and wrong, in that order; clean ones first."""
    kinds = table["noise_kind"].to_pylist()
    firsts: dict[tuple[str, bool], int] = {}
    for row, key in enumerate(zip(kinds, table["is_correct"].to_pylist(), strict=True)):
        firsts.setdefault(key, row)
    return [firsts[key] for key in sorted(firsts, key=lambda key: (key[0], not key[1]))]


def _documents_card(name: str, table: pa.Table, meta: Mapping[str, Any]) -> TableCard:
    """Of a table of packed rows."""
    lengths = np.diff(table["input_ids"].combine_chunks().offsets.to_numpy())
    pieces = table["segment_lens"].combine_chunks()
    told = {key.removeprefix(f"{name}/"): value for key, value in meta["statistics"].items() if key.startswith(f"{name}/")}
    numbers: dict[str, float | None] = {
        "rows": table.num_rows,
        "documents": told["documents"],
        "pieces": len(pieces.values),
        "tokens": told["tokens"],
        "median tokens of a piece": float(np.median(pieces.values.to_numpy())) if len(pieces.values) else None,
        "share of the rows' room that is tokens": told["valid_token_ratio"],
        "share of the tokens that are learnt": told.get("target_frac", 1.0),
    }
    histograms = (
        _ranges("tokens of a piece", pieces.values.to_numpy()),
        _ranges("tokens of a row", lengths),
        _values("pieces of a row", np.diff(pieces.offsets.to_numpy())),
    )
    return TableCard(name, numbers, {}, {}, {}, histograms)


def _table_card(name: str, table: pa.Table, meta: Mapping[str, Any]) -> TableCard:
    if "segment_lens" in table.column_names:
        return _documents_card(name, table, meta)
    lengths = np.diff(table["input_ids"].combine_chunks().offsets.to_numpy())
    per_problem = table["problem_id"].combine_chunks().value_counts().field("counts").to_numpy()
    is_correct = table["is_correct"].to_numpy()
    wrong = table.filter(pc.invert(table["is_correct"]))
    statistics = meta["statistics"]
    numbers: dict[str, float | None] = {
        "rows": table.num_rows,
        "problems": len(per_problem),
        "tokens": int(lengths.sum()),
        "median tokens of a row": float(np.median(lengths)),
        "right": int(is_correct.sum()),
        "wrong": int((~is_correct).sum()),
        "wrong that were given as right": _number(wrong, "origin", "right"),
        "wrong that fail their first test": _number(wrong, "num_passed", 0),
        "given labels that were run": statistics.get(f"{name}/labels_checked"),
        "share of these that were wrong": statistics.get(f"{name}/label_error_frac"),
    }
    return TableCard(
        name,
        numbers,
        _outcomes(table),
        _counts(table["noise_kind"]),
        _counts(table["language"]),
        (
            _ranges("tokens of a row", lengths),
            _difficulties(table["difficulty"]),
            _values("rows of a problem", per_problem),
        ),
    )


def _number(table: pa.Table, column: str, value: Any) -> int:
    return int(pc.sum(pc.equal(table[column], value)).as_py() or 0)


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    found = {each["values"].as_py(): each["counts"].as_py() for each in column.combine_chunks().value_counts()}
    return {name: found[name] for name in sorted(found)}


def _outcomes(table: pa.Table) -> dict[tuple[str, str, str], int]:
    keys = ["is_correct", "origin", "status"]
    grouped = table.select(keys).group_by(keys).aggregate([([], "count_all")]).to_pylist()
    found = {
        ("right" if each["is_correct"] else "wrong", each["origin"], each["status"] or "not run"): each["count_all"]
        for each in grouped
    }
    return {key: found[key] for key in sorted(found)}


def _ranges(title: str, values: np.ndarray) -> Histogram:
    """Bars of one width from 0 to the largest value: most rows may be far shorter than a row may be."""
    width = int(values.max(initial=0)) // NUM_BINS + 1
    counts = np.bincount(np.asarray(values, dtype=np.int64) // width)
    labels = [f"{i * width} to {(i + 1) * width - 1}" for i in range(len(counts))]
    return Histogram(title, tuple(labels), tuple(counts.tolist()))


def _difficulties(column: pa.ChunkedArray) -> Histogram:
    known = _values("difficulty", column.drop_null().to_numpy())
    unknown = (("unknown",), (column.null_count,)) if column.null_count else ((), ())
    return Histogram(known.title, known.labels + unknown[0], known.counts + unknown[1])


def _values(title: str, values: np.ndarray) -> Histogram:
    """A bar for every value; bars of one width where there are too many."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) > NUM_BINS:
        return _ranges(title, values)
    return Histogram(title, tuple(str(value) for value in distinct.tolist()), tuple(counts.tolist()))
