"""The README's pictures: the pipeline as dvc.yaml defines it, and the newest report's pass@1 plot.

Run from the repository's root: `python docs/make_figures.py`. Writes docs/figures/dag.{svg,png} and, where
artifacts/report exists, docs/figures/pass_at_1.png.
"""

from __future__ import annotations

import fnmatch
import functools
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPLATE = re.compile(r"\$\{(?:item\.)?(\w+)(?:\[(\d+)\])?\}")
COLUMN, ROW, BOX_WIDTH, BOX_HEIGHT = 1.72, 1.1, 1.46, 0.56


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml; `each`: what it has an instance for (`arm-seed`, `seed`), empty where there is one;
    `deps` maps an artifact path to the share of the stage's instances that read it."""

    name: str
    each: str
    outs: tuple[str, ...]
    deps: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_of_run(self) -> bool:
        return self.each == "arm-seed"


def read_stages(pipeline: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Stage]:
    """The stages of a parsed dvc.yaml; a `foreach` stage is one, and is left out where params.yaml has nothing for it."""
    stages = {}
    for name, entry in pipeline["stages"].items():
        body, instances, each = entry.get("do", entry), [{}], ""
        if "foreach" in entry:
            group = entry["foreach"].removeprefix("${").removesuffix("}")
            found = functools.reduce(lambda tree, key: tree[key], group.split("."), params)
            instances, each = [{"key": key, **item} for key, item in found.items()], "arm-seed" if group == "runs" else "seed"
        if not instances:
            continue
        seen: dict[str, int] = {}
        for instance in instances:
            for path in {_filled(_path(dep), instance) for dep in body.get("deps", [])}:
                seen[path] = seen.get(path, 0) + 1
        outs = tuple(TEMPLATE.sub("*", _path(out)) for out in body.get("outs", []))
        deps = {path: count / len(instances) for path, count in sorted(seen.items()) if path.startswith("artifacts")}
        stages[name] = Stage(name, each, outs, deps)
    return stages


def _path(entry: Any) -> str:
    """`path` and `{path: {option: value}}` are both dvc.yaml's way to name a file."""
    return str(next(iter(entry))) if isinstance(entry, Mapping) else str(entry)


def _filled(path: str, instance: Mapping[str, Any]) -> str:
    """`${item.x}` and `${item.x[0]}` by the instance's values; what names the instance itself becomes `*`."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in instance or found[1] == "key":
            return "*"
        return str(instance[found[1]] if found[2] is None else instance[found[1]][int(found[2])])

    return TEMPLATE.sub(value, path)


def find_edges(stages: Mapping[str, Stage]) -> dict[tuple[str, str], float]:
    """(producer, consumer) -> the share of the consumer's instances that read from the producer."""
    edges: dict[tuple[str, str], float] = {}
    for stage in stages.values():
        for path, share in stage.deps.items():
            for other in stages.values():
                if other.name != stage.name and any(_overlap(path, out) for out in other.outs):
                    edge = (other.name, stage.name)
                    edges[edge] = max(edges.get(edge, 0.0), share)
    return edges


def _overlap(dep: str, out: str) -> bool:
    """Whether one of two patterns lies in the other; `*` stands for one run."""
    dep_parts, out_parts = dep.split("/"), out.split("/")
    return all(fnmatch.fnmatch(a, b) or fnmatch.fnmatch(b, a) for a, b in zip(dep_parts, out_parts, strict=False))


def reduce_edges(stages: Mapping[str, Stage], edges: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Leave out what another way through the graph says already.

    An edge into a stage that exists per run stays where only some runs read it: those are not the runs of the other way.
    """

    def reaches(start: str, end: str, share: float) -> bool:
        steps = [b for (a, b), other in edges.items() if a == start and other >= share]
        return end in steps or any(reaches(step, end, share) for step in steps)

    kept = {}
    for (start, end), share in edges.items():
        least = share if stages[end].is_of_run else 0.0
        ways = [b for (a, b), other in edges.items() if a == start and b != end and other >= least]
        only_some = stages[end].is_of_run and share < 1
        if only_some or not any(reaches(way, end, least) for way in ways):
            kept[start, end] = share
    return kept


def place(stages: Mapping[str, Stage], edges: Mapping[tuple[str, str], float]) -> dict[str, tuple[int, int]]:
    """Column (longest path from the start) and row of each stage: 0 for what every run needs or feeds, above it the rest."""
    parents: dict[str, list[str]] = {name: [a for a, b in edges if b == name] for name in stages}

    def column(name: str) -> int:
        return max((column(parent) + 1 for parent in parents[name]), default=0)

    trunk = {name for name, stage in stages.items() if stage.is_of_run} or {max(stages, key=column)}
    for name in sorted(stages, key=column, reverse=True):
        if any(edges.get((name, child), 0) >= 1 and stages[child].is_of_run for child in trunk):
            trunk.add(name)
    for name in sorted(stages, key=column):
        if any(stages[parent].is_of_run for parent in parents[name]):
            trunk.add(name)
    spot: dict[str, tuple[int, int]] = {}
    for name in sorted(stages, key=lambda name: (column(name), name)):
        row = 0
        if name not in trunk:
            row = next(r for r in range(1, len(stages) + 1) if (column(name), r) not in spot.values())
        spot[name] = (column(name), row)
    return spot


def draw_dag(stages: Mapping[str, Stage], target: Path) -> None:
    """Write `target`.svg and `target`.png."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    edges = find_edges(stages)
    spot = place(stages, edges)
    edges = reduce_edges(stages, edges)
    columns, rows = (max(axis) for axis in zip(*spot.values(), strict=True))
    with mpl.rc_context({"svg.hashsalt": "wmtp", "svg.fonttype": "none", "font.family": "DejaVu Sans"}):
        figure, axes = plt.subplots(figsize=(COLUMN * (columns + 1), ROW * rows + 1.4))
        for edge, share in sorted(edges.items()):
            _draw_edge(axes, spot[edge[0]], spot[edge[1]], share, spot)
        for stage in stages.values():
            _draw_stage(axes, stage, spot[stage.name])
        note = "dashed: only the arms that need it"
        axes.text(-BOX_WIDTH / 2, -0.5, note, ha="left", va="top", fontsize=9, color="#59636e")
        axes.set_xlim(-0.85, COLUMN * columns + 0.85)
        axes.set_ylim(-0.8, ROW * rows + 0.6)
        axes.set_axis_off()
        figure.subplots_adjust(0, 0, 1, 1)
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target.with_suffix(".svg"), facecolor="white", metadata={"Date": None})
        figure.savefig(target.with_suffix(".png"), facecolor="white", dpi=110, metadata={"Software": None})
        plt.close(figure)


def _draw_stage(axes: Axes, stage: Stage, spot: tuple[int, int]) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = spot[0] * COLUMN, spot[1] * ROW
    color = "#e0efff" if spot[1] == 0 else "#fff0dc"
    for shift in (0.08, 0.0) if stage.each else (0.0,):
        corner = (x - BOX_WIDTH / 2 + shift, y - BOX_HEIGHT / 2 - shift)
        axes.add_patch(
            FancyBboxPatch(corner, BOX_WIDTH, BOX_HEIGHT, "round,pad=0,rounding_size=0.1", fc=color, ec="#3a4149", zorder=3)
        )
    axes.text(x, y, stage.name + (f"\n@{stage.each}" if stage.each else ""), ha="center", va="center", fontsize=10, zorder=4)


def _draw_edge(
    axes: Axes, start: tuple[int, int], end: tuple[int, int], share: float, spots: Mapping[str, tuple[int, int]]
) -> None:
    """A straight arrow, or an arc where a straight one would cross a box of the same row."""
    from matplotlib.patches import FancyArrowPatch

    blocked = start[1] == end[1] and any(row == start[1] and start[0] < column < end[0] for column, row in spots.values())
    side = -1 if start[1] > end[1] or (blocked and start[1] == 0) else 1
    leaves_sideways, arrives_sideways = start[1] == end[1] and not blocked, start[1] <= end[1] and not blocked
    a = (start[0] * COLUMN + leaves_sideways * BOX_WIDTH / 2, start[1] * ROW + (not leaves_sideways) * side * BOX_HEIGHT / 2)
    b = (end[0] * COLUMN - arrives_sideways * BOX_WIDTH / 2, end[1] * ROW)
    if not arrives_sideways:
        b = (end[0] * COLUMN - BOX_WIDTH / 4, end[1] * ROW + (side if blocked else -side) * BOX_HEIGHT / 2)
    bend = -side * 0.32 / (end[0] - start[0]) ** 0.6 if blocked else 0.0
    look = "-" if share >= 1 else "--"
    axes.add_patch(
        FancyArrowPatch(
            a, b, connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=11, color="#59636e", lw=1.1, ls=look
        )
    )


def main(root: Path) -> None:
    import yaml

    pipeline = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    figures = root / "docs" / "figures"
    draw_dag(read_stages(pipeline, params), figures / "dag")
    plot = root / "artifacts" / "report" / "pass_at_1.png"
    if plot.exists():
        shutil.copyfile(plot, figures / plot.name)
    print("\n".join(str(path.relative_to(root)) for path in sorted(figures.iterdir())))


if __name__ == "__main__":
    main(Path(__file__).resolve().parents[1])
