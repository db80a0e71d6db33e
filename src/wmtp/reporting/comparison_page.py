"""The comparison of experiments as files: one page with its plots, a table as CSV and markdown, the numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmtp.files import write_bytes, write_text
from wmtp.reporting.comparison import Comparison, flat_rows, in_lines, label, markdown, note, reach_lines, solves, table
from wmtp.reporting.figures import interval_bar, line_style, short_number
from wmtp.reporting.layout import NARROW, WIDE, Layout, legend_below, new_figure, row_labels, saved, settings
from wmtp.reporting.page import inlined, templates
from wmtp.reporting.style import ArmStyle, arm_styles
from wmtp.reporting.tables import csv_text, interval_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONG = 40
"""Characters beyond which what tells experiments apart leaves a figure's bars no room."""

_OWN_RUNS = "A point is a run of its own, not a moment of a longer one."
_NOTES = {
    "scores": "Sampled pass@1 of every experiment's arms.",
    "curves": "pass@1: share of programs that pass every test. nll: never weighted, the same clean solutions for all. "
    + _OWN_RUNS,
}
_NOTES_OF_DOCUMENTS = {
    "scores": "Held-out NLL of every experiment's arms: left of another is better.",
    "curves": f"Never weighted, the same held-out documents for all. {_OWN_RUNS}",
}


def write(comparison: Comparison, folder: Path) -> Path:
    """Write all files of a comparison; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    wide, narrow = draw(comparison, WIDE), draw(comparison, NARROW)
    for name, svg in wide.items():
        write_bytes(folder / f"{name}.svg", svg)
    write_text(folder / "comparison.json", json.dumps(comparison, indent=1, allow_nan=False) + "\n")
    write_text(folder / "comparison.csv", csv_text(flat_rows(comparison)))
    write_text(folder / "comparison.md", markdown(comparison))
    write_text(folder / "index.html", _page(comparison, wide, narrow))
    return folder / "index.html"


def _page(comparison: Comparison, wide: Mapping[str, bytes], narrow: Mapping[str, bytes]) -> str:
    header, cells = table(comparison)
    rows = [[name, differs.replace(", ", "\n"), arm, *map(in_lines, rest)] for name, differs, arm, *rest in cells]
    notes = _NOTES if solves(comparison) else _NOTES_OF_DOCUMENTS
    figures = [
        {"alt": _alternative(name, comparison), "note": notes[name], "drawn": inlined(wide[name], narrow[name])}
        for name in wide
    ]
    return (
        templates("")
        .get_template("comparison.html.j2")
        .render(
            comparison=comparison,
            header=header,
            rows=rows,
            styles=_styles(comparison),
            note=note(comparison),
            reach=reach_lines(comparison),
            figures=figures,
        )
    )


def _alternative(name: str, comparison: Comparison) -> str:
    """A figure's values in words, for those who do not see it."""
    key, told = "pass@1" if solves(comparison) else "nll_interval", []
    for row in comparison["rows"]:
        beside = "" if name == "scores" else f", nll {row['nll']:.3f} after {short_number(row['tokens'], 0)} tokens"
        told.append(f"{label(comparison, row['point'])}: {row['arm']} {interval_text(row[key])}{beside}")
    return f"{'pass@1' if solves(comparison) else 'nll of head 0'}: {'; '.join(told)}."


# --------------------------------------------------------------------------------------- plots


def draw(comparison: Comparison, layout: Layout = WIDE) -> dict[str, bytes]:
    """Name -> SVG, whose text is text: all scores, and curves where there is something to draw them against."""
    import matplotlib as mpl

    mpl.use("Agg")
    with mpl.rc_context(settings(layout)):
        figures = {"scores": _scores(comparison, layout)}
        if comparison["axis"] is not None:
            figures["curves"] = _curves(comparison, layout)
        return {name: saved(figure, "svg", f"{name} {layout.name}") for name, figure in figures.items()}


def _styles(comparison: Comparison) -> dict[str, ArmStyle]:
    return arm_styles(dict.fromkeys(row["arm"] for row in comparison["rows"]), comparison["baselines"][0])


def _scores(comparison: Comparison, layout: Layout) -> Figure:
    styles, rows, is_solved = _styles(comparison), comparison["rows"], solves(comparison)
    figure, (axes,) = new_figure(layout, 1.4 + 0.34 * len(rows))
    for y, row in enumerate(rows):
        score = row["pass@1" if is_solved else "nll_interval"]
        interval_bar(axes, y, score, styles[row["arm"]])
        at = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": layout.small}
        axes.annotate(f"{score['mean']:.3f}", (score["high"], y), **at)
    names = [label(comparison, row["point"]) for row in rows]
    if max(map(len, names)) > _LONG:
        names = [row["experiment"] for row in rows]
    row_labels(layout, axes, [f"{name}: {row['arm']}" for name, row in zip(names, rows, strict=True)])
    if is_solved:
        axes.set_xlim(0, None)
    measured = "pass@1 (share of programs that pass every test)" if is_solved else "nll of head 0, nats per token"
    axes.set_xlabel(layout.lines(measured))
    title, number = "Sampled pass@1" if is_solved else "Held-out NLL", comparison["setting"]["num_tasks"]
    axes.set_title(layout.lines(f"{title}, 95 % intervals over {number:,} {comparison['score']['noun']}s"))
    return figure


def _curves(comparison: Comparison, layout: Layout) -> Figure:
    styles, of, is_solved = _styles(comparison), comparison["axis"], solves(comparison)
    figure, (first, *beside) = new_figure(layout, 3.8, (1, 1) if is_solved else (1,))
    for arm, style in styles.items():
        rows = [row for row in comparison["rows"] if row["arm"] == arm]
        rows = sorted(rows, key=lambda row: _x(of, row))
        xs = [_x(of, row) for row in rows]
        scores = [row["pass@1" if is_solved else "nll_interval"] for row in rows]
        low, mean, high = ([score[key] for score in scores] for key in ("low", "mean", "high"))
        first.fill_between(xs, low, high, color=style.color, alpha=0.12, lw=0)
        _line(first, xs, mean, style, arm)
        for axes in beside:
            _line(axes, xs, (row["nll"] for row in rows), style, arm)
    for axes in (first, *beside):
        axes.set_xlabel(layout.lines(of["label"]))
        if of["is_tokens"]:
            axes.xaxis.set_major_formatter(short_number)
    if is_solved:
        first.set_ylim(0, None)
    first.set_title("pass@1, bands 95 % over tasks" if is_solved else "nll of head 0, bands 95 % over documents")
    for axes in beside:
        axes.set_title("nll of head 0, clean held-out")
    legend_below(layout, first, styles)
    return figure


def _x(of: dict[str, Any], row: dict[str, Any]) -> float:
    return float(row["tokens"] if of["is_tokens"] else of["values"][row["point"]])


def _line(axes: Axes, xs: list[float], ys: Iterable[float], style: ArmStyle, arm: str) -> None:
    axes.plot(xs, list(ys), **line_style(style), lw=1.8, ms=6, label=arm)
