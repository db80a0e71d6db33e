"""Turn the runs' files into one plain dictionary: everything that tables, figures, text and report.json show."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from wmtp import tasksets
from wmtp.config.arms import needed_columns, plain
from wmtp.reporting.curves import curves_of, point_at, tokens_to_reach
from wmtp.reporting.examples import select_examples
from wmtp.reporting.findings import build_findings
from wmtp.reporting.inputs import UNKNOWN, Checkpoint, Inputs, Run, Tasks
from wmtp.reporting.statistics import (
    NATS,
    PASS_AT_1,
    Score,
    as_json,
    compare_checkpoints,
    compare_family,
    pool,
    score_matrix,
    task_pass_at_k,
)

if TYPE_CHECKING:
    from wmtp.config import Config


def collect(inputs: Inputs, config: Config) -> dict[str, Any]:
    """The report's data: JSON types only, the same for the same inputs."""
    baseline = config.report.baseline_arm if config.report.baseline_arm in {run.arm for run in inputs.runs} else None
    runs_by_arm = group_by_arm(inputs.runs, config, baseline)
    num_bootstrap = config.report.num_bootstrap
    first, score = inputs.runs[0].metrics, Score.for_tasks(inputs.runs[0].tasks)
    report: dict[str, Any] = {
        "title": config.report.title,
        "profile": config.profile,
        "baseline": baseline,
        "score": {"name": score.name, "noun": score.noun},
        "setting": _setting(inputs, config, first),
        "arms": {arm: _arm(arm, runs, config, num_bootstrap) for arm, runs in runs_by_arm.items()},
        "beside": {one.name: _beside(one, config, num_bootstrap) for one in inputs.beside},
        "runs": [_run_row(run, config, num_bootstrap) for runs in runs_by_arm.values() for run in runs],
        "curves": {run.name: curves_of(run.history) for run in inputs.runs},
        "examples": select_examples(
            {arm: runs[0] for arm, runs in runs_by_arm.items() if config.arms[arm].is_weighted}, config.report.num_examples
        ),
        "critic": mean_critic([summary["critic"] for summary in inputs.critics.values()]),
        "shared_stages": {
            name: {**_mean_cost(list(found.values())), "num_trainings": len(found)}
            for name, found in (("tune_reference", inputs.references), ("train_critic", inputs.critics))
            if found
        },
        "data": inputs.data,
    }
    if baseline is not None:
        _add_differences(report, runs_by_arm, baseline, score, num_bootstrap)
        _add_tokens_to_baseline(report, runs_by_arm, baseline)
        _add_checkpoints(report, inputs.beside, runs_by_arm[baseline], num_bootstrap)
    report["pairs"] = _pairs(runs_by_arm, config, score, num_bootstrap)
    report["findings"] = build_findings(report)
    return report


def group_by_arm(runs: Sequence[Run], config: Config, baseline: str | None) -> dict[str, list[Run]]:
    """Runs by arm, each arm's by seed, in reading order: the baseline, the other plain arms, the controls, the weightings."""

    def rank(arm: str) -> tuple[bool, bool, bool, str]:
        weighting = config.arms[arm].weighting
        return arm != baseline, config.arms[arm].is_weighted, not weighting.control_for, arm

    arms = sorted({run.arm for run in runs}, key=rank)
    return {arm: sorted((run for run in runs if run.arm == arm), key=lambda run: run.seed) for arm in arms}


def _setting(inputs: Inputs, config: Config, metrics: dict[str, Any]) -> dict[str, Any]:
    train, sizes = config.train_policy.train, {run.summary.get("num_parameters") for run in inputs.runs}
    evaluations = [*(run.metrics for run in inputs.runs), *(one.metrics for one in inputs.beside)]
    sandboxes = [each.get("sandbox") or {} for each in evaluations]
    return {
        "benchmark": metrics["benchmark"],
        "num_tasks": metrics["num_tasks"],
        "num_samples": metrics.get("num_samples"),
        "limit": metrics.get("limit"),
        "temperature": config.evaluate.temperature,
        "top_p": config.evaluate.top_p,
        "seeds": sorted({run.seed for run in inputs.runs}),
        "steps": train.steps,
        "global_batch_size": train.global_batch_size,
        "num_parameters": sorted(size for size in sizes if size is not None),
        "source": config.data.source,
        "is_generated": config.data.source in tasksets.names() and tasksets.get(config.data.source).is_generated,
        "allow_unsafe": any(sandbox.get("allow_unsafe", False) for sandbox in sandboxes),
        "isolation": sorted({str(sandbox.get("isolation", "not recorded")) for sandbox in sandboxes}),
    }


def _greedy(tasks: Tasks) -> np.ndarray:
    return tasks.greedy_correct.astype(float)


def _solved(runs: Sequence[Run | Checkpoint], config: Config, num_bootstrap: int) -> dict[str, Any]:
    """What was solved; of documents nothing is there to be."""
    if runs[0].tasks.nll is not None:
        return {"pass_at_k": {}, "reported_k": [], "greedy": None, "by_difficulty": {}}

    def pooled(score: Callable[[Tasks], np.ndarray]) -> dict[str, Any]:
        return dataclasses.asdict(pool(score_matrix(runs, score), num_bootstrap))

    largest = min(int(run.tasks.num_samples.min()) for run in runs)
    reported = [k for k in config.report.k if k <= largest]
    plotted = sorted({*reported, *(int(k) for k in np.unique(np.geomspace(1, largest, 10).round()))})
    at_k = {str(k): pooled(partial(task_pass_at_k, k=k)) for k in plotted}
    return {"pass_at_k": at_k, "reported_k": reported, "greedy": pooled(_greedy), "by_difficulty": _by_difficulty(runs)}


def _arm(arm: str, runs: Sequence[Run], config: Config, num_bootstrap: int) -> dict[str, Any]:
    return {
        "arm": arm,
        "weighting": plain(config.arms[arm].weighting),
        "solutions": config.arms[arm].solutions,
        "seeds": [run.seed for run in runs],
        "runs": [run.name for run in runs],
        "is_weighted": config.arms[arm].is_weighted,
        **_solved(runs, config, num_bootstrap),
        "nll": _mean_by_key([run.metrics["nll"] for run in runs]),
        "token_accuracy": _mean_by_key([run.metrics.get("token_accuracy") or {} for run in runs]),
        "verdicts": _sum_by_key([run.metrics.get("verdicts") or {} for run in runs]),
        "weights": _mean_weights([run.summary["weights"] for run in runs if run.summary.get("weights")]),
        "cost": _policy_cost(runs),
        "given": shared_upstream(runs, config),
    }


def _beside(one: Checkpoint, config: Config, num_bootstrap: int) -> dict[str, Any]:
    """What is known of a model that no run here has trained."""
    known = {"model": one.metrics["model"], "folder": one.folder, "verdicts": one.metrics.get("verdicts") or {}}
    return {**known, **_solved([one], config, num_bootstrap), "difference": None, "greedy_difference": None}


def shared_upstream(runs: Sequence[Run], config: Config) -> list[str]:
    """What runs of several seeds have in common, so that nothing is known of how it varies: `one reference`, `one critic`."""
    specs = [config.runs[run.name] for run in runs]
    if len({spec.seed for spec in specs}) == len({spec.upstream for spec in specs}):
        return []
    groups = needed_columns(config.arms, specs)
    return [f"one {name}" for name, group in (("reference", "reference"), ("critic", "value")) if groups[group]]


def _by_difficulty(runs: Sequence[Run | Checkpoint]) -> dict[str, dict[str, float]]:
    difficulty_T = runs[0].tasks.difficulty
    scores_T = score_matrix(runs, partial(task_pass_at_k, k=1)).mean(axis=0)
    table = {}
    for level in sorted({int(level) for level in difficulty_T}, key=lambda level: (level == UNKNOWN, level)):
        is_here_T = difficulty_T == level
        name = "unknown" if level == UNKNOWN else str(level)
        table[name] = {"num_tasks": int(is_here_T.sum()), "pass@1": float(scores_T[is_here_T].mean())}
    return table


def _mean_by_key(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    keys = sorted({key for row in rows for key in row})
    return {key: float(np.mean([row[key] for row in rows if key in row])) for key in keys}


def _sum_by_key(rows: Sequence[dict[str, int]]) -> dict[str, int]:
    return {key: int(sum(row.get(key, 0) for row in rows)) for key in sorted({key for row in rows for key in row})}


def _mean_weights(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Means over seeds; a kind or mean that a run could not measure (None) does not count."""
    if not rows:
        return None
    scalars = [{k: v for k, v in row.items() if k != "by_noise_kind" and v is not None} for row in rows]
    kinds = [{k or "clean": v for k, v in (row.get("by_noise_kind") or {}).items() if v is not None} for row in rows]
    return {**_mean_by_key(scalars), "by_noise_kind": _mean_by_key(kinds)}


def _cost(summary: dict[str, Any]) -> dict[str, Any]:
    keys = ("num_parameters", "steps", "tokens", "wall_s", "tokens_per_s", "peak_memory_bytes", "world_size")
    return {key: summary.get(key) for key in keys}


def _mean_cost(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rows = [_cost(summary) for summary in summaries]
    return _mean_by_key([{key: value for key, value in row.items() if value is not None} for row in rows])


def _policy_cost(runs: Sequence[Run]) -> dict[str, Any]:
    generation = [(run.metrics.get("generation") or {}).get("tokens_per_s") for run in runs]
    speeds = [speed for speed in generation if speed is not None]
    mean = _mean_cost([run.summary for run in runs])
    return {**mean, "generation_tokens_per_s": float(np.mean(speeds)) if speeds else None}


def mean_critic(critics: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The critics' metrics: means, and `auc_min` and `auc_max` of several; one calibration over all, bin by bin."""
    if not critics:
        return None
    scalars = [{key: value for key, value in one.items() if key != "calibration" and value is not None} for one in critics]
    mean: dict[str, Any] = {**_mean_by_key(scalars), "num_critics": len(critics)}
    aucs = [one["auc"] for one in scalars if "auc" in one]
    if len(aucs) > 1:
        mean |= {"auc_min": min(aucs), "auc_max": max(aucs)}
    bins: dict[int, list[dict[str, float]]] = {}
    for point in (point for one in critics for point in one["calibration"]):
        bins.setdefault(min(int(point["p"] * 10), 9), []).append(point)
    return {**mean, "calibration": [_merged(points) for _, points in sorted(bins.items())]}


def _merged(points: Sequence[dict[str, float]]) -> dict[str, float]:
    """Points of one bin as one: means over all their examples."""
    number = sum(point["n"] for point in points)
    return {key: sum(point["n"] * point[key] for point in points) / number for key in ("p", "y")} | {"n": number}


def _run_row(run: Run, config: Config, num_bootstrap: int) -> dict[str, Any]:
    """One line of summary.csv."""
    row: dict[str, Any] = {"run": run.name, "arm": run.arm, "seed": run.seed}
    most = 0 if run.tasks.nll is not None else int(run.tasks.num_samples.min())
    for k in (k for k in config.report.k if k <= most):
        score = pool(score_matrix([run], partial(task_pass_at_k, k=k)), num_bootstrap)
        row |= {f"pass@{k}": score.mean, f"pass@{k}_low": score.low, f"pass@{k}_high": score.high}
    for key in ("greedy_pass@1", "greedy_pass@1_low", "greedy_pass@1_high", "perplexity", "num_tasks", "num_samples"):
        row[key] = run.metrics.get(key)
    row.update({f"nll_{head}": value for head, value in sorted(run.metrics["nll"].items())})
    weights = run.summary.get("weights") or {}
    row.update({f"weight_{key}": weights.get(key) for key in ("signal_mean", "noise_mean")})
    return {**row, **_cost(run.summary)}


def _add_differences(
    report: dict[str, Any], runs_by_arm: dict[str, list[Run]], baseline: str, score: Score, num_bootstrap: int
) -> None:
    others = [arm for arm in runs_by_arm if arm != baseline]
    pairs = [(runs_by_arm[arm], runs_by_arm[baseline]) for arm in others]
    greedy = [] if score is NATS else [("greedy_difference", _greedy)]
    for key, of in (("difference", score.of), *greedy):
        report["arms"][baseline][key] = None
        for arm, found in zip(others, compare_family(pairs, of, num_bootstrap, ends=score.ends), strict=True):
            report["arms"][arm][key] = as_json(found)


def _add_checkpoints(report: dict[str, Any], beside: list[Checkpoint], baseline: list[Run], num_bootstrap: int) -> None:
    for key, of in (("difference", PASS_AT_1.of), ("greedy_difference", _greedy)) if beside else ():
        for one, found in zip(beside, compare_checkpoints(beside, baseline, of, num_bootstrap), strict=True):
            report["beside"][one.name][key] = as_json(found)


def _add_tokens_to_baseline(report: dict[str, Any], runs_by_arm: dict[str, list[Run]], baseline: str) -> None:
    """Per run: where its validation curve first reaches the nll of the model that the baseline run of its seed ended as."""
    curves = {run.name: report["curves"][run.name]["validation"] for runs in runs_by_arm.values() for run in runs}
    results = {
        run.name: point_at(curves[run.name], run.summary["result_step"]) for runs in runs_by_arm.values() for run in runs
    }
    targets = {run.seed: results[run.name] for run in runs_by_arm[baseline]}
    for arm, runs in runs_by_arm.items():
        rows: list[dict[str, Any]] = [
            {"run": run.name, "seed": run.seed, "result_nll": result["value"]} | tokens_to_reach(curves[run.name], target)
            for run in runs
            if (result := results[run.name]) is not None and (target := targets.get(run.seed)) is not None
        ]
        reached = [row["frac_of_baseline"] for row in rows if row["frac_of_baseline"] is not None]
        report["arms"][arm]["tokens_to_baseline"] = {
            "runs": rows,
            "num_reached": len(reached),
            "num_runs": len(rows),
            "mean_frac": float(np.mean(reached)) if reached else None,
        }


def _pairs(runs_by_arm: dict[str, list[Run]], config: Config, score: Score, num_bootstrap: int) -> list[dict[str, Any]]:
    """Comparisons beside those with the baseline: filtering against every weighting, a weighting against its control."""
    arms = {arm: config.arms[arm] for arm in runs_by_arm}
    filtered = [arm for arm, how in arms.items() if how.solutions == "correct" and not how.is_weighted]
    weighted = [arm for arm, how in arms.items() if how.is_weighted and not how.weighting.control_for]
    pairs = [("filtered", one, other) for one in filtered for other in weighted]
    pairs += [
        ("control", one, other)
        for one in weighted
        for other, how in arms.items()
        if how.weighting.control_for == arms[one].weighting.name
    ]
    runs = [(runs_by_arm[one], runs_by_arm[other]) for _, one, other in pairs]
    found = compare_family(runs, score.of, num_bootstrap, ends=score.ends)
    return [
        {"kind": kind, "arm": one, "against": other, "difference": as_json(difference)}
        for (kind, one, other), difference in zip(pairs, found, strict=True)
    ]
