"""Several experiments side by side: what their arms scored, against their own baseline and against the first experiment.

All differences of one comparison are one family, and each is decided as a report decides: see `compare_family`.
No torch, no matplotlib.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wmtp.errors import DataError
from wmtp.reporting.collect import group_by_arm, shared_upstream
from wmtp.reporting.curves import tokens_to_reach
from wmtp.reporting.findings import plural, power, seed_caveats, signed
from wmtp.reporting.statistics import NATS, Pair, Score, as_json, compare_family, pool, score_matrix
from wmtp.reporting.tables import interval_text, signed_range, verdict_cell, verdict_note

if TYPE_CHECKING:
    from wmtp.config import Config
    from wmtp.reporting.inputs import Inputs, Run, Tasks

Comparison = Mapping[str, Any]

STEPS = "train_policy.train.steps"
"""Where it alone differs, every point is a whole training of another length: tokens are the axis."""
_KINDS = ("baseline", "first")
"""What an arm is compared with: its experiment's own baseline; the same arm of the first experiment."""
_OF_SOMETHING = ("path", "pretrained", "name", "seed")
"""Last parts of keys that do not say whose they are."""


@dataclass(frozen=True)
class Member:
    """An experiment of a comparison.

    `contents`: by run, the hash of its evaluation: runs of the same content are one and the same, in whichever experiment.
    """

    name: str
    config: Config
    inputs: Inputs
    contents: Mapping[str, str]

    @property
    def baseline(self) -> str | None:
        arm = self.config.report.baseline_arm
        return arm if arm in {run.arm for run in self.inputs.runs} else None

    def arms(self) -> dict[str, list[Run]]:
        """Runs by arm, each named by its content."""
        runs = [dataclasses.replace(run, name=self.contents[run.name]) for run in self.inputs.runs]
        return group_by_arm(runs, self.config, self.baseline)


def compare(members: Sequence[Member], differing: Mapping[str, Sequence[Any]], num_bootstrap: int) -> dict[str, Any]:
    """The comparison's data, JSON types only.

    Args:
        differing: settings in which the experiments differ, with each one's value.
    Raises:
        DataError: nothing to compare with, or experiments on different tasks.
    """
    _require_same_tasks(members)
    score = Score.for_tasks(members[0].inputs.runs[0].tasks)
    arms = [member.arms() for member in members]
    differences = _differences(members, arms, score, num_bootstrap)
    rows = []
    for index, (member, by_arm) in enumerate(zip(members, arms, strict=True)):
        for arm, runs in by_arm.items():
            row = {"experiment": member.name, "arm": arm, "point": index, **_scores(runs, score, num_bootstrap)}
            rows.append(row | {f"against_{kind}": differences.get((index, arm, kind)) for kind in _KINDS})
    first = members[0].inputs.runs[0].metrics
    comparison: dict[str, Any] = {
        "title": f"{plural(len(members), 'experiment')} side by side",
        "experiments": [member.name for member in members],
        "baselines": [member.baseline for member in members],
        "differing": {key: list(values) for key, values in differing.items()},
        "score": {"name": score.name, "noun": score.noun},
        "setting": {"benchmark": first["benchmark"], "num_tasks": first["num_tasks"], "level": 0.95},
        "num_differences": sum(found is not None for found in differences.values()),
        "rows": rows,
        "axis": axis(differing),
    }
    comparison["tokens_to_baseline"] = _tokens_to_baseline(comparison)
    comparison["caveats"] = _caveats(members, arms, score.noun, [found for found in differences.values() if found is not None])
    return comparison


def _require_same_tasks(members: Sequence[Member]) -> None:
    first = members[0].inputs.runs[0]
    for member in members[1:]:
        other = member.inputs.runs[0]
        if (other.tasks.task_ids, other.metrics["benchmark"]) != (first.tasks.task_ids, first.metrics["benchmark"]):
            raise DataError(
                f"{members[0].name} and {member.name} were not evaluated on the same tasks, so their scores cannot be compared"
            )
        if not _are_same_tokens(members[0], member):
            raise DataError(
                f"{members[0].name} and {member.name} have the held-out documents in other tokens, so nats per token of one "
                f"cannot be compared with the other's: give both the same data.tokenizer.path and data.max_length"
            )


def _are_same_tokens(one: Member, other: Member) -> bool:
    """Whether both count the same tokens, where it is tokens that scores are of."""
    ours, theirs = (member.inputs.runs[0].tasks.num_tokens for member in (one, other))
    if ours is None or theirs is None:
        return True
    tokenizers = {member.inputs.data.get("tokenizer_sha256") for member in (one, other)}
    return len(tokenizers) == 1 and np.array_equal(ours, theirs)


def _scores(runs: Sequence[Run], score: Score, num_bootstrap: int) -> dict[str, Any]:
    """Of one arm of one experiment: over its seeds and the tasks. Of documents nothing is solved."""

    def pooled(of: Callable[[Tasks], np.ndarray], **ends: Sequence[float]) -> dict[str, Any]:
        return dataclasses.asdict(pool(score_matrix(runs, of), num_bootstrap, **ends))

    if score is NATS:
        scores = {"nll_interval": pooled(lambda tasks: -score.of(tasks), ends=())}
    else:
        scores = {"pass@1": pooled(score.of), "greedy": pooled(lambda tasks: tasks.greedy_correct.astype(float))}
    return {
        "seeds": [run.seed for run in runs],
        **scores,
        "nll": float(np.mean([run.metrics["nll"]["head0"] for run in runs])),
        "nll_by_seed": [float(run.metrics["nll"]["head0"]) for run in runs],
        "tokens": float(np.mean([run.summary["tokens"] for run in runs])),
        "steps": float(np.mean([run.summary["steps"] for run in runs])),
    }


def _differences(
    members: Sequence[Member], arms: Sequence[Mapping[str, list[Run]]], score: Score, num_bootstrap: int
) -> dict[tuple[int, str, str], dict[str, Any] | None]:
    """Of all that there is to compare, by experiment, arm and kind, with intervals that hold for all of it together."""
    pairs: dict[tuple[int, str, str], Pair] = {}
    for index, (member, by_arm) in enumerate(zip(members, arms, strict=True)):
        for arm, runs in by_arm.items():
            if member.baseline is not None and arm != member.baseline:
                pairs[index, arm, "baseline"] = runs, by_arm[member.baseline]
            other = arms[0].get(arm)
            if index and other is not None and _contents(runs) != _contents(other):
                pairs[index, arm, "first"] = runs, other
    unique = {(_contents(one), _contents(other)): (one, other) for one, other in pairs.values()}
    found = compare_family(list(unique.values()), score.of, num_bootstrap, ends=score.ends)
    by_content = dict(zip(unique, found, strict=True))
    return {key: as_json(by_content[_contents(one), _contents(other)]) for key, (one, other) in pairs.items()}


def _caveats(
    members: Sequence[Member], arms: Sequence[Mapping[str, list[Run]]], noun: str, found: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What a report of one experiment would say too."""
    num_seeds = min(len(runs) for by_arm in arms for runs in by_arm.values())
    given = {
        what
        for member in members
        for runs in group_by_arm(member.inputs.runs, member.config, member.baseline).values()
        for what in shared_upstream(runs, member.config)
    }
    return seed_caveats(num_seeds, noun, given) + power(found, noun)


def _contents(runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(run.name for run in runs)


def axis(differing: Mapping[str, Sequence[Any]]) -> dict[str, Any] | None:
    """What a curve can be drawn against: the one setting that differs, where it is a number; tokens for lengths of training."""
    if len(differing) != 1:
        return None
    ((key, values),) = differing.items()
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return None
    return {"key": key, "label": "training tokens" if key == STEPS else key, "is_tokens": key == STEPS, "values": numbers}


def _tokens_to_baseline(comparison: Comparison) -> dict[str, dict[str, Any]] | None:
    """By arm: the share of the longest baseline's tokens after which whole trainings reach its nll, and its pass@1.

    Between two points it is interpolated linearly, and of the shortest one it is only known that it takes no more (`is_most`);
    None where no point gets there. A baseline that solves nothing is no mark. Only where lengths of training are compared.
    """
    of = comparison["axis"]
    baselines = set(comparison["baselines"])
    if of is None or not of["is_tokens"] or len(baselines) != 1 or None in baselines:
        return None
    (baseline,) = baselines
    found: dict[str, dict[str, Any]] = {}
    solved = [("pass@1", -1, lambda row: row["pass@1"]["mean"])] if solves(comparison) else []
    for name, sign, value in (("nll", 1, lambda row: row["nll"]), *solved):
        target = max(_points(comparison, baseline, sign, value), key=lambda point: point["tokens"])
        if target["value"] == 0:
            continue
        for arm in {row["arm"] for row in comparison["rows"]} - {baseline}:
            points = _points(comparison, arm, sign, value)
            reached = tokens_to_reach(points, target)
            is_most = reached["tokens"] == points[0]["tokens"]
            entry = {"tokens": reached["tokens"], "frac": reached["frac_of_baseline"], "is_most": is_most}
            found.setdefault(arm, {})[name] = entry
    return dict(sorted(found.items()))


def _points(comparison: Comparison, arm: str | None, sign: int, value: Any) -> list[dict[str, float]]:
    rows = [row for row in comparison["rows"] if row["arm"] == arm]
    points = [{"step": row["steps"], "tokens": row["tokens"], "value": sign * value(row)} for row in rows]
    return sorted(points, key=lambda point: point["tokens"])


# --------------------------------------------------------------------------------------- as text


def solves(comparison: Comparison) -> bool:
    """Whether there is something to solve, or documents alone."""
    return bool(comparison["score"]["noun"] == "task")


def label(comparison: Comparison, index: int) -> str:
    """What tells an experiment apart: its values of what differs, `keep_frac=0.4`; its name where nothing does."""
    values = [(_short(key), row[index]) for key, row in comparison["differing"].items()]
    return ", ".join(f"{key}={value_text(value)}" for key, value in values if value is not None) or str(
        comparison["experiments"][index]
    )


def _short(key: str) -> str:
    """Its last part, with the one before where that does not say whose it is."""
    *above, last = key.split(".")
    return ".".join([*above[-1:], last]) if last in _OF_SOMETHING else last


def value_text(value: Any) -> str:
    """As one would type it."""
    if isinstance(value, list):
        return "[" + ",".join(map(value_text, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and cells, as text."""
    is_solved = solves(comparison)
    kind, named = ("minus", ["greedy", "nll"]) if is_solved else ("saved against", [])
    header = ["experiment", "differs in", "arm", "pass@1" if is_solved else "nll", f"{kind} its baseline", f"{kind} the first"]
    header += [*named, "tokens", "seeds"]
    rows = []
    for row in comparison["rows"]:
        told, nll = label(comparison, row["point"]) if comparison["differing"] else "", f"{row['nll']:.4f}"
        score, *besides = [interval_text(row["pass@1"]), f"{row['greedy']['mean']:.3f}", nll] if is_solved else [nll]
        differences = [difference_text(row[f"against_{kind}"]) for kind in _KINDS]
        counts = [f"{row['tokens']:,.0f}", str(len(row["seeds"]))]
        rows.append([row["experiment"], told, row["arm"], score, *differences, *besides, *counts])
    return header, rows


def difference_text(difference: Mapping[str, Any] | None) -> str:
    """`+0.210 [+0.100, +0.320]: cannot tell [-0.020, +0.440]`, with what decides; nothing where there is none."""
    if difference is None:
        return ""
    plain = f"{signed(difference['mean'])} {signed_range(difference['low'], difference['high'])}"
    return f"{plain}: {verdict_cell(difference)}"


def in_lines(cell: str) -> str:
    """Of a table, for a narrow column: number, interval, verdict and what decides below each other."""
    return cell.replace(" [", "\n[").replace(": ", "\n")


def note(comparison: Comparison) -> str:
    setting, number, noun = comparison["setting"], comparison["num_differences"], comparison["score"]["noun"]
    text = f"{setting['benchmark']}: {plural(setting['num_tasks'], noun)}. Brackets: 95 % over {noun}s"
    if any(len(row["seeds"]) > 1 for row in comparison["rows"]):
        text += f"; {verdict_note(noun)}"
        text += f", each also as it holds for all {number} differences of this table together" if number > 1 else ""
    text += f". nll: head 0 on {'clean held-out solutions' if solves(comparison) else 'held-out documents, nats per token'}."
    if comparison["axis"] is not None and comparison["axis"]["is_tokens"]:
        text += " Every point is a whole training with a schedule of its own."
    return text


def reach_lines(comparison: Comparison) -> list[str]:
    """What lengths of training tell of tokens to the baseline, a sentence for each arm."""
    lines = []
    for arm, found in (comparison["tokens_to_baseline"] or {}).items():
        parts = [
            f"{what} after {'at most ' * one['is_most']}{100 * one['frac']:.0f} % of its tokens"
            if one["frac"] is not None
            else f"{what} at no length tried"
            for what, one in found.items()
        ]
        lines.append(f"{arm} reaches the longest {comparison['baselines'][0]}'s {' and '.join(parts)} (whole trainings).")
    return lines


def markdown(comparison: Comparison) -> str:
    header, rows = table(comparison)
    lines = [f"# {comparison['title']}", "", note(comparison), ""]
    lines += ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]
    lines += ["", *(f"- {text}" for text in [*reach_lines(comparison), *comparison["caveats"]])]
    return "\n".join(lines).rstrip() + "\n"


def terminal(comparison: Comparison, width: int = 150) -> str:
    """The table for a terminal; what would only repeat the row above is left empty."""
    from rich.console import Console
    from rich.table import Table

    header, rows = table(comparison)
    keep = [i for i, name in enumerate(header) if name in ("experiment", "arm") or any(row[i] for row in rows)]
    shown = Table(title=comparison["title"], caption=note(comparison), title_justify="left", caption_justify="left")
    for i in keep:
        shown.add_column(header[i], justify="left" if i < 3 else "right", overflow="fold")
    before: list[str] = []
    for row in rows:
        cells = ["" if i < 2 and before[:2] == row[:2] else in_lines(row[i]) for i in keep]
        shown.add_row(*cells)
        before = row
    console = Console(file=io.StringIO(), width=width, color_system=None, markup=False)
    console.print(shown)
    for line in reach_lines(comparison):
        console.print(line, highlight=False)
    for text in comparison["caveats"]:
        console.print(f"! {text}", highlight=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def flat_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One for each experiment and arm: the lines of comparison.csv."""
    rows = []
    for row in comparison["rows"]:
        flat: dict[str, Any] = {key: row[key] for key in ("experiment", "arm", "nll", "tokens", "steps")}
        flat |= {key: value_text(values[row["point"]]) for key, values in comparison["differing"].items()}
        for name in ("pass@1", "greedy") if solves(comparison) else ():
            flat |= {name: row[name]["mean"], f"{name}_low": row[name]["low"], f"{name}_high": row[name]["high"]}
        flat |= {f"nll_{key}": row["nll_interval"][key] for key in ("low", "high") if not solves(comparison)}
        for kind in _KINDS:
            flat |= {f"against_{kind}_{key}": value for key, value in (row[f"against_{kind}"] or {}).items()}
        rows.append(flat)
    return rows
