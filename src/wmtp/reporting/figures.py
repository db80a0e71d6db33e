"""The report's plots, drawn from `collect`'s dictionary. Each says in its title what is measured and on how much."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wmtp.reporting.findings import decisive, plural
from wmtp.reporting.layout import (
    WIDE,
    Layout,
    beside_legend,
    group_labels,
    legend_below,
    legend_beside,
    new_figure,
    row_labels,
    saved,
    settings,
)
from wmtp.reporting.style import ArmStyle, arm_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = dict[str, Any]


def draw_figures(report: Report, layout: Layout = WIDE, form: Literal["png", "svg"] = "png") -> dict[str, bytes]:
    """Name -> every figure that the report has data for, in page order. An SVG's text is text, and the same every time."""
    import matplotlib as mpl

    mpl.use("Agg")
    with mpl.rc_context(settings(layout)):
        drawn = {name: draw(report, layout) for name, draw in FIGURES.items()}
        return {name: saved(figure, form, f"{name} {layout.name}") for name, figure in drawn.items() if figure is not None}


def _scope(report: Report) -> str:
    setting = report["setting"]
    return f"{plural(setting['num_tasks'], report['score']['noun'])}, {plural(len(setting['seeds']), 'seed')}"


def line_style(style: ArmStyle) -> dict[str, Any]:
    """Of a line with points, for matplotlib."""
    return {"color": style.color, "marker": style.marker, "linestyle": style.dash}


def interval_bar(axes: Axes, y: float, entry: dict[str, Any], style: ArmStyle) -> None:
    axes.plot([entry["low"], entry["high"]], [y, y], color=style.color, lw=2.5, solid_capstyle="round")
    axes.plot(entry["mean"], y, style.marker, color=style.color, ms=9)


def pass_at_1(report: Report, layout: Layout) -> Figure | None:
    """Sampled and greedy pass@1 of every arm, with intervals over tasks and a dot per seed."""
    if report["score"]["noun"] != "task":
        return None
    entries, styles = {**report["arms"], **report["beside"]}, arm_styles(report["arms"], report["baseline"])
    figure, (axes,) = new_figure(layout, 1.3 + 0.5 * len(entries))
    styles |= dict.fromkeys(report["beside"], ArmStyle(axes.xaxis.label.get_color(), "d", "", "-"))
    for y, (arm, entry) in enumerate(entries.items()):
        interval_bar(axes, y - 0.12, entry["pass_at_k"]["1"], styles[arm])
        greedy = entry["greedy"]
        axes.plot([greedy["low"], greedy["high"]], [y + 0.2, y + 0.2], color=styles[arm].color, lw=1)
        axes.plot(greedy["mean"], y + 0.2, "o", mfc="none", mec=styles[arm].color, ms=6)
        seeds = [row["pass@1"] for row in report["runs"] if row["arm"] == arm]
        if len(seeds) > 1:
            axes.plot(seeds, [y - 0.12] * len(seeds), "|", color=axes.xaxis.label.get_color(), ms=9, mew=1)
    row_labels(layout, axes, [f"{name}\n(one checkpoint)" if name in report["beside"] else name for name in entries])
    axes.set_xlim(0, None)
    axes.set_xlabel(layout.lines("pass@1 (share of programs that pass every test)"))
    intervals = f"95 % intervals over tasks, ticks are seeds ({_scope(report)})"
    axes.set_title(layout.lines(f"pass@1, sampled (filled) and greedy (hollow)\n{intervals}"))
    return figure


def difference(report: Report, layout: Layout) -> Figure | None:
    """Paired differences in the score against the baseline, with both intervals and what the verdict is made by."""
    arms = [arm for arm, entry in report["arms"].items() if entry.get("difference")]
    if not arms:
        return None
    styles = arm_styles(report["arms"], report["baseline"])
    figure, (axes,) = new_figure(layout, 1.3 + 0.45 * len(arms))
    axes.axvline(0, color=axes.xaxis.label.get_color(), lw=1)
    for y, arm in enumerate(arms):
        entry = report["arms"][arm]["difference"]
        if entry["seed_low"] is not None:
            axes.plot([entry["seed_low"], entry["seed_high"]], [y, y], color=styles[arm].color, lw=8, alpha=0.25)
        axes.plot(decisive(entry), [y, y], "|-", color=styles[arm].color, lw=1, ms=9)
        interval_bar(axes, y, entry, styles[arm])
    row_labels(layout, axes, arms)
    name, noun = report["score"]["name"], report["score"]["noun"]
    axes.set_xlabel(layout.lines(f"{name} minus {report['baseline']}'s, same {noun}s and seeds"))
    others = "bands over seeds, whiskers: what decides" if len(report["setting"]["seeds"]) > 1 else "whiskers jointly"
    how = "sampled " if noun == "task" else ""
    title = f"Difference from {report['baseline']} in {how}{name} ({_scope(report)})"
    axes.set_title(layout.lines(f"{title}\n95 % over {noun}s, paired, {others}"))
    return figure


def pass_at_k(report: Report, layout: Layout) -> Figure | None:
    """pass@k against k, sampled."""
    styles = arm_styles(report["arms"], report["baseline"])
    if max(len(entry["pass_at_k"]) for entry in report["arms"].values()) < 2:
        return None
    figure, (axes,) = new_figure(layout, beside_legend(layout, 4.0, report["arms"]))
    for arm, entry in report["arms"].items():
        ks = sorted(int(k) for k in entry["pass_at_k"])
        rows = [entry["pass_at_k"][str(k)] for k in ks]
        axes.fill_between(ks, [r["low"] for r in rows], [r["high"] for r in rows], color=styles[arm].color, alpha=0.1, lw=0)
        axes.plot(ks, [r["mean"] for r in rows], **line_style(styles[arm]), label=arm)
    if ks[-1] > 20:
        axes.set_xscale("log")
    else:
        axes.set_xticks(ks)
    axes.set_ylim(0, None)
    axes.set(xlabel="k", ylabel="pass@k")
    setting = report["setting"]
    drawn = f"{setting['num_samples']} samples at T = {setting['temperature']:g}"
    axes.set_title(layout.lines(f"pass@k, bands 95 % over tasks ({_scope(report)}, {drawn})"))
    legend_beside(layout, axes, report["arms"])
    return figure


def by_difficulty(report: Report, layout: Layout) -> Figure | None:
    """Sampled pass@1 by task difficulty."""
    levels = sorted({level for entry in report["arms"].values() for level in entry["by_difficulty"]}, key=_rank)
    if len(levels) < 2:
        return None
    styles = arm_styles(report["arms"], report["baseline"])
    counts = next(iter(report["arms"].values()))["by_difficulty"]
    figure, (axes,) = new_figure(layout, beside_legend(layout, 3.4, report["arms"]))
    _bars(axes, {arm: [e["by_difficulty"][level]["pass@1"] for level in levels] for arm, e in report["arms"].items()}, styles)
    labels = [f"difficulty {level}\n({plural(counts[level]['num_tasks'], 'task')})" for level in levels]
    group_labels(layout, axes, labels)
    axes.set_ylim(0, None)
    axes.set(ylabel="pass@1")
    axes.set_title(layout.lines(f"Sampled pass@1 by difficulty ({_scope(report)})"))
    legend_beside(layout, axes, report["arms"])
    return figure


def _rank(level: str) -> tuple[bool, int]:
    """Unknown difficulties come last."""
    return (True, 0) if level == "unknown" else (False, int(level))


def _bars(axes: Axes, values: dict[str, list[float | None]], styles: dict[str, ArmStyle]) -> None:
    """Groups of bars side by side, one bar per arm; an absent value leaves a gap."""
    width = 0.84 / len(values)
    for index, (arm, heights) in enumerate(values.items()):
        shown = [(x, height) for x, height in enumerate(heights) if height is not None]
        offset = (index - (len(values) - 1) / 2) * width
        xs, tops = [x + offset for x, _ in shown], [height for _, height in shown]
        axes.bar(xs, tops, 0.92 * width, color=styles[arm].color, hatch=styles[arm].hatch, label=arm)
    axes.grid(False, axis="x")


def nll_per_head(report: Report, layout: Layout) -> Figure:
    """Held-out nll of every head."""
    heads = sorted(
        {head for entry in report["arms"].values() for head in entry["nll"]}, key=lambda head: int(head.removeprefix("head"))
    )
    figure, (axes,) = new_figure(layout, beside_legend(layout, 3.4, report["arms"]))
    _bars(
        axes,
        {arm: [e["nll"].get(head) for head in heads] for arm, e in report["arms"].items()},
        arm_styles(report["arms"], report["baseline"]),
    )
    group_labels(layout, axes, [f"head {head.removeprefix('head')}" for head in heads])
    axes.set(ylabel="nll (nats per token), lower is better")
    what = "clean held-out solutions" if report["score"]["noun"] == "task" else "held-out documents"
    axes.set_title(layout.lines(f"nll per head on {what} ({plural(len(report['setting']['seeds']), 'seed')})"))
    legend_beside(layout, axes, report["arms"])
    return figure


def learning_curves(report: Report, layout: Layout) -> Figure | None:
    """Validation nll and training loss against tokens seen; thin lines are seeds, thick ones their mean."""
    if not any(curve["validation"] or curve["train"] for curve in report["curves"].values()):
        return None
    from matplotlib.ticker import LogLocator

    styles = arm_styles(report["arms"], report["baseline"])
    figure, panels = new_figure(layout, 3.8, (1, 1))
    for axes, key in zip(panels, ("validation", "train"), strict=True):
        for arm, entry in report["arms"].items():
            curves = [report["curves"][run][key] for run in entry["runs"] if report["curves"][run][key]]
            for curve in curves if len(curves) > 1 else []:
                axes.plot(*_xy(curve), color=styles[arm].color, lw=0.7, alpha=0.45)
            if curves:
                some = None if key == "validation" else 0.15  # of the many points of a training loss, by their distance
                axes.plot(*_mean_curve(curves), **line_style(styles[arm]), lw=1.8, ms=4, markevery=some, label=arm)
        axes.set_xlabel("training tokens seen")
        axes.xaxis.set_major_formatter(short_number)
    panels[0].set_yscale("log")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].yaxis.set_minor_formatter("")
    seeds = plural(len(report["setting"]["seeds"]), "seed")
    panels[0].set_title(layout.lines(f"nll of head 0, clean held-out ({seeds})"))
    panels[1].set_title("training loss (each arm's own weights)")
    legend_below(layout, panels[0], report["arms"])
    return figure


def _xy(curve: list[dict[str, float]]) -> tuple[list[float], list[float]]:
    return [point["tokens"] for point in curve], [point["value"] for point in curve]


def _mean_curve(curves: list[list[dict[str, float]]]) -> tuple[np.ndarray, np.ndarray]:
    """The mean over runs at the first run's tokens, others interpolated to them."""
    tokens = np.array(_xy(curves[0])[0], dtype=float)
    return tokens, np.mean([np.interp(tokens, *_xy(curve)) for curve in curves], axis=0)


def short_number(value: float, _position: int) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def weights(report: Report, layout: Layout) -> Figure | None:
    """Mean weight on signal and noise tokens, and by the example's kind of noise; None where nothing is marked as noise."""
    shown = {arm: e["weights"] for arm, e in report["arms"].items() if e["is_weighted"] and e["weights"]}
    if all(weights.get("noise_mean") is None for weights in shown.values()):
        return None
    styles = arm_styles(report["arms"], report["baseline"])
    figure, panels = new_figure(layout, 3.6, (2, 3))
    means = {arm: [w.get("signal_mean"), w.get("noise_mean")] for arm, w in shown.items()}
    _bars(panels[0], means, styles)
    group_labels(layout, panels[0], ["signal tokens", "noise tokens"])
    panels[0].set(ylabel="mean training weight (1 = unweighted)")
    panels[0].set_title("Mean weight: signal and noise")
    kinds = sorted({kind for w in shown.values() for kind in w["by_noise_kind"]}, key=lambda kind: (kind != "clean", kind))
    _bars(panels[1], {arm: [w["by_noise_kind"].get(kind) for kind in kinds] for arm, w in shown.items()}, styles)
    group_labels(layout, panels[1], kinds, layout.small)
    panels[1].set_title(f"by kind of noise ({plural(len(report['setting']['seeds']), 'seed')})")
    for axes in panels:
        axes.axhline(1, color=axes.xaxis.label.get_color(), lw=1, ls=":")
    legend_below(layout, panels[0], shown)
    return figure


def calibration(report: Report, layout: Layout) -> Figure | None:
    """Reliability diagram of the critic's final value."""
    critic = report["critic"]
    if critic is None or not critic["calibration"]:
        return None
    points = sorted(critic["calibration"], key=lambda point: point["p"])
    sizes = np.array([point["n"] for point in points], dtype=float)
    figure, (axes,) = new_figure(layout, 4.4)
    axes.plot([0, 1], [0, 1], ":", color=axes.xaxis.label.get_color(), lw=1, label="perfectly calibrated")
    axes.plot([p["p"] for p in points], [p["y"] for p in points], color="#2f7fd0", lw=1.5)
    area = 20 + 220 * sizes / sizes.max()
    axes.scatter(
        [p["p"] for p in points], [p["y"] for p in points], s=area, color="#2f7fd0", label="critic (area: examples)", zorder=3
    )
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.06), xlabel="predicted P(correct), final value", ylabel="share that is correct")
    axes.set_aspect("equal")
    scores = ", ".join(
        f"{label} {critic[key]:.3f}" for key, label in (("brier", "Brier"), ("ece", "ECE")) if critic[key] is not None
    )
    axes.set_title(layout.lines(f"Critic on unseen problems (n = {int(sizes.sum()):,})\n{scores}"))
    if layout.is_narrow:
        legend_below(layout, axes, axes.get_legend_handles_labels()[1])
    else:
        axes.legend(loc="upper left")
    return figure


FIGURES: dict[str, Callable[[Report, Layout], Figure | None]] = {
    "pass_at_1": pass_at_1,
    "difference": difference,
    "pass_at_k": pass_at_k,
    "by_difficulty": by_difficulty,
    "nll_per_head": nll_per_head,
    "learning_curves": learning_curves,
    "weights": weights,
    "calibration": calibration,
}
