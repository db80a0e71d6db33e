"""index.html: one page with everything inlined, made from report.json's content by a jinja2 template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wmtp.ledger import Ledger
from wmtp.reporting.alternatives import alternatives
from wmtp.reporting.examples import spans, weight_class
from wmtp.reporting.findings import decisive, plural, signed
from wmtp.reporting.style import BACKGROUND, GRID, TEXT, arm_styles
from wmtp.reporting.tables import interval_text, scope_text, signed_range, verdict_text

if TYPE_CHECKING:
    from jinja2 import Environment

FIGURE_NOTES = {
    "pass_at_1": "A task's pass@1 is the share of its samples that pass all tests; greedy is one program per task. "
    "Bars: over tasks; ticks: seeds.",
    "difference": "Right of zero is better. Narrow bar: resampled tasks or documents, trained models fixed. "
    "Wide pale bar: Student's t over seeds, if several. Whiskers: the widest of these and of those that "
    "hold for all arms jointly, over seeds at 98 % or more, if several: a verdict needs zero outside of them.",
    "pass_at_k": "Unbiased estimate 1 - C(n-c, k) / C(n, k), averaged over tasks.",
    "by_difficulty": "Difficulty is the depth of the composition or the dataset's own grade.",
    "nll_per_head": "Never weighted, the same clean solutions of unseen problems, or held-out documents, for every arm. "
    "Head h predicts the token h + 1 ahead.",
    "learning_curves": "Only the held-out nll compares arms: a training loss is weighted by its own arm.",
    "weights": "Head 0's weights under the trained policy; dotted: unweighted. By kind: noise tokens, clean solutions. "
    "Where weights are normalised to mean one, what one token loses another gains.",
    "calibration": "On the diagonal, of the solutions given p a share of p is correct.",
}
"""A line under each figure."""


_DECISIVE = {
    "decides": "the widest of the two and of those that hold for all arms jointly, over seeds at 98 % or more: a verdict needs "
    "zero outside of it",
    "jointly": "the widest that holds for all arms together",
}


def render_page(report: Mapping[str, Any], wide: Mapping[str, bytes], narrow: Mapping[str, bytes]) -> str:
    """The page's HTML.

    Args:
        report: `collect`'s dictionary.
        wide, narrow: name -> SVG in the layout of that name; the width of the reader's screen picks one.
    """
    environment = templates("templates")
    environment.filters |= {"interval": interval_text, "signed": signed, "duration": duration, "size": size, "count": count}
    environment.filters["unbroken"] = unbroken
    texts = alternatives(report)
    figures = {
        name: {"drawn": inlined(wide[name], narrow[name]), "note": FIGURE_NOTES[name], "alt": texts[name]} for name in wide
    }
    return environment.get_template("report.html.j2").render(
        report=report,
        figures=figures,
        styles=arm_styles(report["arms"], report["baseline"]),
        scope=scope_text(report),
        plural=plural,
        verdict_text=verdict_text,
        signed_range=signed_range,
        decisive=decisive,
        DECISIVE=_DECISIVE,
        spans=spans,
        legend=[(weight_class(weight), text) for weight, text in _LEGEND],
        ledger=Ledger.from_counts(report["data"]["counts"]).lines.values(),
        statistics=by_split(report["data"].get("statistics", {})),
    )


_LEGEND = (
    (0.0, "0"),
    (0.3, "below 0.5"),
    (0.7, "0.5 to 0.9"),
    (1.0, "about 1"),
    (1.3, "1.1 to 1.6"),
    (2.0, "1.6 to 2.2"),
    (3.0, "above 2.2"),
)


def templates(folder: str) -> Environment:
    """Pages' templates, by their paths in a folder of this package."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("wmtp.reporting", folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


_COLORS = {TEXT: "var(--text)", BACKGROUND: "var(--bg)", GRID: "var(--line)"}
_SVG = re.compile(r'.*?<svg [^>]*(viewBox="[^"]*")[^>]*>\s*(?:<metadata>.*?</metadata>)?(.*)', re.DOTALL)


def inlined(wide: bytes, narrow: bytes) -> str:
    """Both layouts of a figure as parts of a page, whose style sheet shows one, in the page's colours, light or dark."""
    parts = []
    for layout, svg in (("wide", wide), ("narrow", narrow)):
        found = _SVG.fullmatch(svg.decode("utf-8"))
        assert found is not None, "an SVG of matplotlib's"
        box, drawn = found.groups()
        drawn = re.sub(r'<g id="[^"]*"', "<g", drawn)  # every figure has an axes_1
        for color, of_page in _COLORS.items():
            drawn = drawn.replace(color, of_page)
        parts.append(f'<svg class="{layout}" {box}>{drawn.strip()}')
    return "\n".join(parts)


def unbroken(text: str) -> str:
    """The same, with intervals in brackets in one line, however narrow their column."""
    return text.replace(", ", ",\u00a0")


def by_split(statistics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """meta.json's `split/name` statistics as a table: name -> value, by split."""
    table: dict[str, dict[str, Any]] = {}
    for key, value in statistics.items():
        split, _, name = key.partition("/")
        table.setdefault(split, {})[name] = value
    return table


def duration(seconds: float | None) -> str:
    """`45 s`, `3 min 05 s`, `2 h 10 min`; a dash when unknown."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(num_bytes: float | None) -> str:
    """MiB or GiB; a dash when unknown."""
    if num_bytes is None:
        return "-"
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.0f} MiB"


def count(value: float | str | None) -> str:
    """A number with thousands separators, three decimals where it is no whole one; a dash when unknown."""
    if value is None:
        return "-"
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3f}"
