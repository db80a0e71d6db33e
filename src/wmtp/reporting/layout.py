"""How figures are laid out: wide in a window and on paper, narrow on a phone. What is drawn is the same in both."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from wmtp.reporting.style import BACKGROUND, GRID, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Layout:
    """Of all figures of a page.

    `width`: in inches, of 72 units in an SVG and 130 dots in a PNG. `size`, `small`: of letters, in units.
    `is_narrow`: panels are below each other, legends below them, names of rows above these, and long lines are broken.
    """

    name: str
    width: float
    size: float
    small: float
    is_narrow: bool

    def lines(self, text: str) -> str:
        """A title or label, in lines that have room beside an axis."""
        if not self.is_narrow:
            return text
        return "\n".join(textwrap.fill(line, _LETTERS) for line in text.splitlines())


WIDE = Layout("wide", 8.0, 10, 8, is_narrow=False)
NARROW = Layout("narrow", 4.8, 11, 11, is_narrow=True)
"""As wide as a phone's text: its letters are not made smaller there."""
_LETTERS = 48
"""In a line of a narrow figure."""
_LINE, _ENTRY = 0.018, 0.024
"""Inches from one line to the next, and from a legend's entry to the one below, for letters of size 1."""


def settings(layout: Layout) -> Any:
    """matplotlib's, for all figures."""
    keys = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    return {
        **dict.fromkeys(keys, TEXT),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor"), BACKGROUND),
        "grid.color": GRID,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "font.size": layout.size,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "legend.frameon": False,
        "figure.dpi": 130,
        "svg.fonttype": "none",
        "hatch.linewidth": 0.7,
        "hatch.color": BACKGROUND,
    }


def saved(figure: Figure, form: str, name: str) -> bytes:
    """A figure's file, the same every time.

    Args:
        name: of the figure and its layout, for ids that no other SVG of a page has.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format=form, metadata={"Software": None} if form == "png" else {"Date": None, "Creator": None})
    plt.close(figure)
    return buffer.getvalue()


def new_figure(layout: Layout, height: float, ratios: Sequence[float] = (1,)) -> tuple[Figure, list[Any]]:
    """A figure and its panels: beside each other, as wide as `ratios` say, or each of the height below the one before."""
    import matplotlib.pyplot as plt

    shape = (len(ratios), 1) if layout.is_narrow else (1, len(ratios))
    keys: dict[str, Any] = {} if layout.is_narrow else {"width_ratios": ratios}
    figure, panels = plt.subplots(
        *shape, figsize=(layout.width, height * shape[0]), layout="constrained", squeeze=False, **keys
    )
    return figure, list(panels.flat)


def beside_legend(layout: Layout, height: float, names: Collection[str]) -> float:
    """Inches of a figure that must be as high as the legend beside it, one line for each name."""
    return height if layout.is_narrow else max(height, 0.4 + 0.22 * len(names))


def legend_beside(layout: Layout, axes: Axes, names: Collection[str]) -> None:
    """Of the only panel; below it where there is no room."""
    if layout.is_narrow:
        legend_below(layout, axes, names)
    else:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def legend_below(layout: Layout, axes: Axes, names: Collection[str]) -> None:
    """In as many columns as names fit beside each other; the figure grows by its lines."""
    figure = cast("Figure", axes.figure)
    needed = 0.6 + 0.009 * layout.size * max(map(len, names))
    columns = min(len(names), 6, max(1, int(layout.width / needed)))
    figure.set_figheight(figure.get_figheight() + _ENTRY * layout.size * (math.ceil(len(names) / columns) - 1))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, handlelength=3)


def row_labels(layout: Layout, axes: Axes, names: list[str]) -> None:
    """Names of what is drawn at 0, 1, ... from above: beside it, or above it, where the figure grows by their lines."""
    axes.grid(False, axis="y")
    if not layout.is_narrow:
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        return
    broken, figure = [layout.lines(name) for name in names], cast("Figure", axes.figure)
    num_lines = 1 + max(name.count("\n") for name in broken)
    figure.set_figheight(figure.get_figheight() + _LINE * layout.size * num_lines * len(names))
    axes.set_yticks([y - 0.27 for y in range(len(names))], broken, ha="left", va="bottom")
    axes.tick_params(axis="y", length=0, pad=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(names) - 0.6, -0.9)


def group_labels(layout: Layout, axes: Axes, names: Sequence[str], size: float | None = None) -> None:
    """Names of groups of bars; slanted in a narrow figure where they have no room beside each other.

    Args:
        size: of letters, where it is not the layout's.
    """
    longest = max(len(line) for name in names for line in name.splitlines())
    slanted: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    is_tight = layout.is_narrow and len(names) * (longest + 1) > _LETTERS
    axes.set_xticks(range(len(names)), names, fontsize=size or layout.size, **(slanted if is_tight else {}))
