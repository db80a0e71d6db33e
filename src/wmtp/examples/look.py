"""What `wmtp data` shows of a folder of token tables: the card, or single rows with their history."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from wmtp.errors import ConfigError
from wmtp.examples.card import TABLES, Segment, read_card, row_card, tables_in
from wmtp.examples.card_text import card_text, in_tags, row_text
from wmtp.tokens.tables import read_table
from wmtp.tokens.tokenizer import load_tokenizer

NOISE_COLOUR, PROMPT_COLOUR, PLAIN = "\x1b[30;43m", "\x1b[2m", "\x1b[0m"


@dataclass(frozen=True)
class Look:
    """What to show: one row of `table`, the rows of one problem in every table, the first `examples` rows, or the card."""

    table: str = TABLES[0]
    row: int | None = None
    problem: str | None = None
    examples: int | None = None

    def __post_init__(self) -> None:
        chosen = [f"--{name}" for name in ("row", "problem", "examples") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ConfigError(f"{' and '.join(chosen)} ask for different rows: give one of them")


def look(folder: Path, what: Look, *, colours: bool) -> str:
    """The text to print.

    Args:
        colours: escape sequences around noise and prompts; without them noise stands in tags.
    Raises:
        ConfigError: no such table, row or problem; DataError: a missing or broken file.
    """
    known = [*tables_in(folder), *(["critic"] if (folder / "critic.arrow").exists() else [])]
    if what.table not in known:
        raise ConfigError(f"--table {what.table}: there are {', '.join(known)}")
    if what.row is None and what.problem is None and what.examples is None:
        return card_text(read_card(folder))
    text = load_tokenizer(folder / "tokenizer")
    shown = [
        row_text(row_card(text, read_table(folder / f"{table}.arrow"), table, row), _coloured if colours else in_tags)
        for table, rows in _rows(folder, what).items()
        for row in rows
    ]
    return "\n\n".join(shown)


def _rows(folder: Path, what: Look) -> dict[str, list[int]]:
    """The rows to show, by table."""
    if what.problem is not None:
        tables = {name: read_table(folder / f"{name}.arrow") for name in tables_in(folder)}
        found = {name: _rows_of(table, what.problem) for name, table in tables.items()}
        if not any(found.values()):
            example = tables[TABLES[0]]["problem_id"][0]
            raise ConfigError(f"--problem {what.problem}: no table has a row of it (for example, {example} has)")
        return found
    number = read_table(folder / f"{what.table}.arrow").num_rows
    if what.row is None:
        return {what.table: list(range(min(what.examples or 0, number)))}
    if what.row >= number:
        raise ConfigError(f"--row {what.row}: {what.table} has rows 0 to {number - 1}")
    return {what.table: [what.row]}


def _rows_of(table: pa.Table, problem: str) -> list[int]:
    """Rows of a problem, or that hold a part of a document: those are called by their places."""
    if "segment_places" not in table.column_names:
        return np.flatnonzero(np.asarray(table["problem_id"].to_pylist()) == problem).tolist()
    return [row for row, places in enumerate(table["segment_places"].to_pylist()) if problem in places]


def _coloured(segment: Segment) -> str:
    colour = {"noise": NOISE_COLOUR, "prompt": PROMPT_COLOUR}.get(segment.kind)
    if colour is None:
        return in_tags(segment)
    return "\n".join(f"{colour}{line}{PLAIN}" if line else "" for line in segment.text.split("\n"))
