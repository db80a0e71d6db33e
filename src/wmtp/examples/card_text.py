"""The data card as Markdown that reads well as it stands: its README.md, and what `wmtp data` prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wmtp.examples.card import REMOVED, DataCard, Histogram, RowCard, Segment, TableCard
from wmtp.ledger import Line

BAR = 40
"""Characters of the longest bar."""


def card_text(card: DataCard) -> str:
    """Everything on the card, in sections."""
    parts = [
        ("Tables", _statistics(card.tables)),
        *(_of_solutions(card.tables) if card.tables[0].outcomes else ()),
        ("What was dropped, and why", dropped_table(card.ledger)),
        ("What was removed because of another problem", _removed(card)),
        ("Ledger", fenced("\n".join(map(str, card.ledger)))),
        ("Histograms", "\n\n".join(_histograms(table) for table in card.tables)),
        ("Examples", "\n\n".join(row_text(example) for example in card.examples)),
        ("Sources", _hash_table(card.sources)),
        ("Files", _hash_table(card.files)),
    ]
    return "\n".join(f"## {title}\n\n{text}\n" for title, text in parts)


def row_text(row: RowCard, mark: Callable[[Segment], str] | None = None) -> str:
    """A row with its history; `mark` writes a segment, without it noise stands in tags."""
    history = "\n".join(f"- {line}" for line in history_lines(row))
    text = "".join(map(mark or in_tags, row.segments))
    return f"### {row.table} row {row.row}: {row.history['problem_id']}\n\n{history}\n\n{fenced(text)}"


def in_tags(segment: Segment) -> str:
    return {"noise": f"<noise>{segment.text}</noise>", "boundary": "\n<boundary>\n"}.get(segment.kind, segment.text)


def history_lines(row: RowCard) -> list[str]:
    """How the row came to be, one step a line."""
    values = row.history
    if "segment_places" in values:
        pieces = zip(values["segment_places"], values["segment_lens"], strict=True)
        return [f"from {place}, {size} tokens" for place, size in pieces]
    told = (values["solution"], values["language"])
    made = {"mutant": f"made wrong by an edit ({values['edit']})", "right": "given as right", "wrong": "given as wrong"}
    lines = [
        ", ".join(filter(None, (f"from {values['source_file']}, row {values['source_row']}", *told))),
        made[values["origin"]],
        f"noise: {values['noise_kind'] or 'none'}" + (f", the text is {values['text_of']}'s" if values["text_of"] else ""),
    ]
    if values["status"]:
        lines.append(f"ran: {values['status'].replace('_', ' ')} after {values['num_passed']} tests passed")
    else:
        lines.append("did not run: its label is the source's")
    label = "right" if values["is_correct"] else "wrong"
    difficulty = "unknown" if values["difficulty"] is None else values["difficulty"]
    return [*lines, f"label: {label}; difficulty {difficulty}; {row.num_tokens} tokens"]


def dropped(ledger: Sequence[Line]) -> list[tuple[str, str, str, int]]:
    """(collection, unit, reason, number) of everything that was dropped."""
    return [
        (line.name, line.unit, reason.replace("_", " "), number)
        for line in ledger
        for reason, number in line.dropped.items()
        if number
    ]


def dropped_table(ledger: Sequence[Line]) -> str:
    rows = [(f"{name} {unit}", reason, f"{number:,}") for name, unit, reason, number in dropped(ledger)]
    return _table(("of", "reason", "number"), rows) if rows else "Nothing."


def _removed(card: DataCard) -> str:
    if not card.num_removed:
        return "Nothing."
    numbers = [(reason.replace("_", " "), how, f"{number:,}") for (reason, how), number in card.num_removed.items()]
    firsts = [
        (f"{each['problem_id']} ({each['file']}, row {each['row']})", each["how"], f"{each['degree']:.2f}", because(each))
        for each in card.removed
    ]
    head, first = _table(("reason", "how", "problems"), numbers), _table(("removed", "how", "degree", "because of"), firsts)
    return f"{head}\n\nThe first of them; {REMOVED} has all:\n\n{first}"


def because(removed: Mapping[str, Any]) -> str:
    """The problem because of which another one was removed, and where it stands."""
    return f"{removed['because']} ({removed['because_file']}, row {removed['because_row']})"


def figure(value: float | None) -> str:
    """Whole numbers as they are, others with four decimals; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"


def fenced(text: str) -> str:
    """A block of text as it stands, whatever is in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _statistics(tables: Sequence[TableCard]) -> str:
    rows = [(name, *(figure(table.numbers[name]) for table in tables)) for name in tables[0].numbers]
    return _table(("", *(table.name for table in tables)), rows)


def _outcomes(tables: Sequence[TableCard]) -> str:
    keys = sorted({key for table in tables for key in table.outcomes})
    rows = [
        (label, origin, status.replace("_", " "), *(f"{table.outcomes.get((label, origin, status), 0):,}" for table in tables))
        for label, origin, status in keys
    ]
    return _table(("label", "origin", "ran", *(table.name for table in tables)), rows)


def _of_solutions(tables: Sequence[TableCard]) -> list[tuple[str, str]]:
    """What documents do not have."""
    noise, languages = [table.noise for table in tables], [table.languages for table in tables]
    return [
        ("Labels", _outcomes(tables)),
        ("Noise", _by_kind(tables, noise, "clean")),
        ("Languages", _by_kind(tables, languages, "not said")),
    ]


def _by_kind(tables: Sequence[TableCard], counts: Sequence[Mapping[str, int]], nothing: str) -> str:
    """Rows of every table by kind, "" called `nothing`."""
    kinds = sorted({kind for each in counts for kind in each})
    rows = [(kind or nothing, *(f"{each.get(kind, 0):,}" for each in counts)) for kind in kinds]
    return _table(("rows", *(table.name for table in tables)), rows)


def _histograms(table: TableCard) -> str:
    return f"### {table.name}\n\n" + fenced("\n\n".join(histogram_text(each) for each in table.histograms))


def histogram_text(histogram: Histogram) -> str:
    """A bar a line, the longest of `BAR` characters; who is counted has at least one."""
    most, width = max(histogram.counts), max(map(len, histogram.labels))
    digits = len(f"{most:,}")
    lines = [
        f"{label:>{width}} {number:>{digits},} {'#' * (-(-number * BAR // most) if most else 0)}".rstrip()
        for label, number in zip(histogram.labels, histogram.counts, strict=True)
    ]
    return "\n".join([histogram.title, *lines])


def _hash_table(files: Sequence[tuple[str, int, str]]) -> str:
    rows = [(name, f"{size:,}", digest) for name, size, digest in files]
    return _table(("file", "bytes", "sha256"), rows) if rows else "Generated: no file was read."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are aligned, numbers to the right."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    right = [bool(rows) and all(re.fullmatch(r"[0-9.,]+|-", row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "| " + " | ".join(f"{cell:>{w}}" if r else f"{cell:<{w}}" for cell, w, r in zip(row, widths, right, strict=True)) + " |"
        for row in cells
    ]
    rule = "| " + " | ".join("-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])
