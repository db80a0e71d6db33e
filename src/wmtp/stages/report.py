"""Stage `report`: the configured runs side by side, as a page, plots and tables. A plain process without torch."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from wmtp.types import StageResult

if TYPE_CHECKING:
    from wmtp.config import Config
    from wmtp.stages.context import StageContext


def run(config: Config, context: StageContext) -> StageResult:
    """Write artifacts/report from the runs' evaluations and training records."""
    from wmtp.reporting.collect import collect
    from wmtp.reporting.figures import draw_figures
    from wmtp.reporting.findings import plural
    from wmtp.reporting.inputs import load_beside, load_inputs
    from wmtp.reporting.layout import NARROW, WIDE
    from wmtp.reporting.page import render_page
    from wmtp.reporting.tables import arm_rows, csv_text, curve_rows, markdown, metrics_tree

    print(f"report reads {plural(len(config.runs), 'run')}", flush=True)
    inputs = load_inputs(config, context.root)
    inputs = replace(inputs, beside=load_beside(config, context.root, inputs.runs[0]))
    report = {**collect(inputs, config), "fingerprint": context.fingerprint}
    wide, narrow = draw_figures(report, WIDE, "svg"), draw_figures(report, NARROW, "svg")
    metrics = metrics_tree(report)
    texts = {
        "index.html": render_page(report, wide, narrow),
        "report.json": json.dumps(report, indent=1, sort_keys=False, allow_nan=False) + "\n",
        "report.md": markdown(report),
        "metrics.json": json.dumps(metrics, indent=1, allow_nan=False) + "\n",
        "summary.csv": csv_text(report["runs"]),
        "arms.csv": csv_text(arm_rows(report)),
        "curves.csv": csv_text(curve_rows(report)),
    }
    out = context.out("artifacts/report")
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    for name, png in draw_figures(report).items():
        (out / f"{name}.png").write_bytes(png)
    print(f"report wrote {len(texts)} files and {len(wide)} plots", flush=True)
    flat = {f"{group}/{key}": float(value) for group, values in metrics.items() for key, value in values.items()}
    return StageResult(metrics=flat, counts={"num_runs": len(config.runs), "num_arms": len(report["arms"])})
