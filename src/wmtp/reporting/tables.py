"""summary.csv, arms.csv, curves.csv, metrics.json, report.md and the terminal's table. No torch, no matplotlib."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wmtp.reporting.findings import decisive, plural, signed

Report = Mapping[str, Any]


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV, columns in order of first appearance, absent values empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def arm_rows(report: Report) -> list[dict[str, Any]]:
    """One flat row per arm, and per checkpoint that stands beside them."""
    rows = []
    for arm, entry in report["arms"].items():
        row: dict[str, Any] = {"arm": arm, "num_seeds": len(entry["seeds"])} | _solved(entry)
        row |= {f"nll_{head}": value for head, value in entry["nll"].items()} | _difference(entry)
        reach = entry.get("tokens_to_baseline") or {}
        row |= {"tokens_to_baseline_frac": reach.get("mean_frac"), "num_reached_baseline": reach.get("num_reached")}
        weights = entry["weights"] or {}
        row |= {f"weight_{key}": weights.get(key) for key in ("signal_mean", "noise_mean")}
        rows.append(row | dict(entry["cost"]))
    beside = report["beside"].items()
    return rows + [
        {"arm": name, **_solved(entry), **_difference(entry), "checkpoint": entry["model"]} for name, entry in beside
    ]


def _solved(entry: Mapping[str, Any]) -> dict[str, Any]:
    found = {} if entry["greedy"] is None else _flat("greedy_pass@1", entry["greedy"])
    at_k = [_flat(f"pass@{k}", entry["pass_at_k"][str(k)]) for k in entry["reported_k"]]
    return {key: value for part in (*at_k, found) for key, value in part.items()}


def _difference(entry: Mapping[str, Any]) -> dict[str, Any]:
    found = (entry.get("difference") or {}).items()
    return {f"difference_{key}": value for key, value in found if not key.startswith("num_")}


def _flat(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    keys = {
        "mean": name,
        "low": f"{name}_low",
        "high": f"{name}_high",
        "seed_min": f"{name}_seed_min",
        "seed_max": f"{name}_seed_max",
    }
    return {column: entry[key] for key, column in keys.items()}


def curve_rows(report: Report) -> list[dict[str, Any]]:
    """One row per run and logged step: for `dvc plots`."""
    rows = []
    for run, curves in report["curves"].items():
        by_step: dict[float, dict[str, Any]] = {}
        for column, name in (("train_loss", "train"), ("val_nll_head0", "validation")):
            for point in curves[name]:
                row = by_step.setdefault(point["step"], {"run": run, "step": point["step"], "tokens": point["tokens"]})
                row[column] = point["value"]
        rows += [by_step[step] for step in sorted(by_step)]
    return rows


def metrics_tree(report: Report) -> dict[str, Any]:
    """The few numbers per arm, and per checkpoint beside them, that `dvc metrics show` and `dvc metrics diff` should list."""
    tree: dict[str, Any] = {}
    for arm, entry in (*report["arms"].items(), *report["beside"].items()):
        tree[arm] = {f"pass@{k}": round(entry["pass_at_k"][str(k)]["mean"], 6) for k in entry["reported_k"]}
        tree[arm] |= {"greedy_pass@1": round(entry["greedy"]["mean"], 6)} if entry["greedy"] else {}
        tree[arm] |= {f"nll_{head}": round(value, 6) for head, value in entry.get("nll", {}).items()}
        if entry.get("difference"):
            tree[arm]["difference"] = round(entry["difference"]["mean"], 6)
    if report["critic"]:
        keys = ("auc", "brier", "ece", "auc_max_reference_nll")
        tree["critic"] = {key: round(report["critic"][key], 6) for key in keys if report["critic"].get(key) is not None}
    return tree


# --------------------------------------------------------------------------------------- the main table


def interval_text(entry: Mapping[str, Any]) -> str:
    return f"{entry['mean']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"


def main_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the arms' table, as text: the same in markdown and in the terminal."""
    ks = next(iter(report["arms"].values()))["reported_k"]
    solves, baseline = report["score"]["noun"] == "task", report["baseline"]
    header = ["arm", "seeds", *(f"pass@{k}" for k in ks), *(["greedy"] if solves else [])]
    header += [f"minus {baseline}" if solves else f"saved against {baseline}", "verdict", "nll", "tokens"]
    rows = []
    for arm, entry in report["arms"].items():
        difference = entry.get("difference")
        verdict, reach = verdict_cell(difference) if difference else "", entry.get("tokens_to_baseline")
        cells = [*_score_cells(entry, ks), verdict, f"{entry['nll']['head0']:.4f}"]
        rows.append([arm, str(len(entry["seeds"])), *cells, reach_text(reach, is_baseline=arm == report["baseline"])])
    rows += [[name, "", *_score_cells(entry, ks), "one checkpoint", "", ""] for name, entry in report["beside"].items()]
    if report["baseline"] is None:
        keep = [i for i, name in enumerate(header) if not name.startswith(("minus", "saved", "verdict", "tokens"))]
        return [header[i] for i in keep], [[row[i] for i in keep] for row in rows]
    return header, rows


def _score_cells(entry: Mapping[str, Any], ks: Sequence[int]) -> list[str]:
    """pass@k, the greedy score where something is solved, and the difference from the baseline."""
    difference = entry.get("difference")
    return [
        *(interval_text(entry["pass_at_k"][str(k)]) for k in ks),
        *([f"{entry['greedy']['mean']:.3f}"] if entry["greedy"] else []),
        f"{signed(difference['mean'])} {signed_range(difference['low'], difference['high'])}" if difference else "",
    ]


def signed_range(low: float, high: float) -> str:
    return f"[{signed(low)}, {signed(high)}]"


def verdict_cell(difference: Mapping[str, Any]) -> str:
    """`cannot tell [-0.020, +0.440]`: the verdict and what it was made by; of one run nothing is claimed."""
    text = verdict_text(difference)
    return text if difference["verdict"] == "single" else f"{text} {signed_range(*decisive(difference))}"


def verdict_text(difference: Mapping[str, Any]) -> str:
    """`beats`, `worse` or `cannot tell`; of one seed `one run`, of which nothing is claimed."""
    return {"better": "beats", "worse": "worse", "unclear": "cannot tell", "single": "one run"}[difference["verdict"]]


def reach_text(reach: Mapping[str, Any] | None, *, is_baseline: bool) -> str:
    """`61 %`, `61 % (2 of 3)` or `never`."""
    if is_baseline or not reach or not reach["num_runs"]:
        return ""
    if reach["mean_frac"] is None:
        return "never"
    some = "" if reach["num_reached"] == reach["num_runs"] else f" ({reach['num_reached']} of {reach['num_runs']})"
    return f"{100 * reach['mean_frac']:.0f} %{some}"


def scope_text(report: Report) -> str:
    setting = report["setting"]
    seeds = f"seed{'s' if len(setting['seeds']) > 1 else ''} {', '.join(map(str, setting['seeds']))}"
    if report["score"]["noun"] == "document":
        return f"{setting['benchmark']}: {plural(setting['num_tasks'], 'held-out document')}; {seeds}"
    return (
        f"{setting['benchmark']}: {plural(setting['num_tasks'], 'task')} x {plural(setting['num_samples'], 'sample')} "
        f"(T = {setting['temperature']:g}, top-p {setting['top_p']:g}); {seeds}"
    )


def table_note(report: Report) -> str:
    is_read = report["score"]["noun"] == "document"
    text = f"Brackets: 95 % over {report['score']['noun']}s. nll: head 0 on "
    text += "held-out documents, nats per token." if is_read else "clean held-out solutions."
    text += "".join(f" {name}: one checkpoint, not a run of ours." for name in report["beside"])
    if report["baseline"] is None:
        return text
    if len(report["setting"]["seeds"]) > 1:
        text += f" {verdict_note(report['score']['noun'])}."
    return f"{text} tokens: share of {report['baseline']}'s training tokens needed to reach its final validation nll."


def verdict_note(noun: str) -> str:
    """What `verdict_cell` has in brackets."""
    return f"verdict: brackets are what must exclude zero, the widest of the intervals over {noun}s and over seeds"


def markdown(report: Report) -> str:
    """report.md: the main table and what can be said of it."""
    header, rows = main_table(report)
    lines = [f"# {report['title']}", "", f"{scope_text(report)}. {table_note(report)}", ""]
    lines += ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]
    findings = report["findings"]
    if findings["arms"]:
        lines += ["", *(f"- **{row['arm']}** {row['text']}" for row in findings["arms"])]
    if findings["beside"]:
        lines += ["", *(f"- **{row['name']}** {row['text']}" for row in findings["beside"])]
    groups = ("pairs", "curves", "weights", "critic", "caveats")
    lines += ["", *(f"- {text}" for group in groups for text in findings[group]), "", findings["limits"], ""]
    return "\n".join(lines)


def terminal_table(report_json: Path | str, width: int = 120) -> str:
    """The arms side by side, for the end of a run; reads report.json.

    Args:
        width: columns to lay the table out in.
    """
    from rich.console import Console
    from rich.table import Table

    report = {"beside": {}} | json.loads(Path(report_json).read_text(encoding="utf-8"))  # a report of before has none
    header, rows = main_table(report)
    caption = f"{scope_text(report)}. {table_note(report)}"
    table = Table(title=report["title"], caption=caption, title_justify="left", caption_justify="left", pad_edge=False)
    for name in header:
        table.add_column(name, justify="left" if name in ("arm", "verdict") else "right")
    for cells in rows:
        table.add_row(*(cell.replace(" [", "\n[").replace(" (", "\n(") for cell in cells))
    console = Console(file=io.StringIO(), width=width, color_system=None, markup=False)
    console.print(table)
    for text in report["findings"]["caveats"]:
        console.print(f"! {text}", highlight=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
