"""`wmtp experiments`: what has been run, several of them in one report, one of them back."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wmtp.config import compose
from wmtp.config.compose import to_plain
from wmtp.errors import ConfigError, LaunchError
from wmtp.orchestration import books, own_code
from wmtp.orchestration import experiments as kept
from wmtp.orchestration.experiments import Experiment
from wmtp.orchestration.workspaces import open_workspace

COMPARISONS = Path(".wmtp") / "comparisons"
_NUM_BOOTSTRAP = 2000
_READ = {
    "evaluate": ("artifacts/evaluation", ("metrics.json", "per_task.csv")),
    "train_policy": ("artifacts/training", ("summary.json", "history.jsonl", "examples.json")),
}
"""What a comparison reads of a run: the stage, the folder of its output, the files."""
_UPSTREAM = {
    "reference": ("tune_reference", "artifacts/tuning/reference"),
    "value": ("train_critic", "artifacts/tuning/critic"),
}
"""And of what runs share, by the group of columns that it makes."""


# --------------------------------------------------------------------------------------- the list


def show(root: Path, *, as_json: bool) -> None:
    """Print every experiment: what it differs in, what it scored, from which commit, when and where it ran.

    Raises:
        ConfigError: `root` is no git repository.
    """
    every = kept.find_all(root)
    if not every and not as_json:
        print("no experiment yet: `wmtp run compare` records one when it is done")
        return
    rows = _rows(root, every)
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        _print(rows)


def _rows(root: Path, every: Sequence[Experiment]) -> list[dict[str, Any]]:
    different = kept.differing(every)
    folders = [one.outs("report").get("artifacts/report", "") for one in every]
    of_profiles = {name: _of_profile(root, name) for name in {*different.get("profile", ())}}
    rows = []
    for index, (one, files) in enumerate(zip(every, kept.cached_files(root, folders), strict=True)):
        differs = {key: values[index] for key, values in different.items() if values[index] is not None}
        rows.append(
            {
                "name": one.name,
                "when": one.when,
                "where": one.workspace,
                "commit": one.baseline,
                "ref": one.ref,
                "differs": differs,
                "as_profile": _as_profile(of_profiles, differs),
                "scores": None if files is None else _scores(files),
            }
        )
    return rows


def _of_profile(root: Path, name: str) -> dict[str, Any]:
    """The settings that a profile has now, where it needs nothing to be given."""
    try:
        return kept.settings_of(to_plain(compose(root, name)))
    except ConfigError:
        return {}


def _as_profile(of_profiles: Mapping[str, Mapping[str, Any]], differs: Mapping[str, Any]) -> list[str]:
    """Settings that are as the profile has them, where profiles differ."""
    own = of_profiles.get(differs.get("profile", ""), {})
    return [key for key, value in differs.items() if key != "profile" and own.get(key) == value]


def _scores(files: dict[str, Path]) -> dict[str, dict[str, float]]:
    """pass@k with its interval by arm, from the report; what metrics.json says where a report has no more."""
    if "report.json" not in files:
        found: dict[str, dict[str, float]] = json.loads(files["metrics.json"].read_text(encoding="utf-8"))
        return found
    arms = json.loads(files["report.json"].read_text(encoding="utf-8"))["arms"]
    return {arm: _score(entry) for arm, entry in arms.items()}


def _score(entry: dict[str, Any]) -> dict[str, float]:
    if not entry["reported_k"]:
        return {"nll": entry["nll"]["head0"]}
    k = entry["reported_k"][0]
    score = entry["pass_at_k"][str(k)]
    return {f"pass@{k}": score["mean"], "low": score["low"], "high": score["high"], "nll": entry["nll"]["head0"]}


def _print(rows: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    from wmtp.reporting.comparison import value_text
    from wmtp.reporting.findings import plural

    table = Table(
        "experiment", "scores", Column("differs in", overflow="fold"), "commit", "when", "where", box=None, pad_edge=False
    )
    for row in rows:
        scores = "not in the cache" if row["scores"] is None else "\n".join(_words(*item) for item in row["scores"].items())
        lines = [f"{key}={value_text(value)}" for key, value in row["differs"].items() if key not in row["as_profile"]]
        lines += (
            [f"and {plural(len(row['as_profile']), 'setting')} as the profile has them (--json)"] if row["as_profile"] else []
        )
        when, where = row["when"][:16].replace("T", " "), row["where"] or "DVC"
        table.add_row(row["name"], scores, "\n".join(lines), row["commit"][:7], when, "here" if where == "." else where)
    Console(width=None if sys.stdout.isatty() else 160, markup=False).print(table)


def _words(arm: str, score: dict[str, float]) -> str:
    name, value = next(iter(score.items()))
    if "low" not in score:
        return f"{arm} " + ", ".join(f"{key} {number:g}" for key, number in score.items())
    return f"{arm} {name} {value:.3f} [{score['low']:.3f}, {score['high']:.3f}], nll {score['nll']:.4f}"


# --------------------------------------------------------------------------------------- one report over several


def compare(root: Path, names: Sequence[str], out: Path | None = None) -> Path:
    """One report over several experiments, from what DVC's cache has of them; printed as a table, written as a page.

    Args:
        out: the folder to write; one in .wmtp/comparisons by default.
    Raises:
        ConfigError, DataError: as `side_by_side`.
    """
    comparison, page = side_by_side(root, [kept.find(root, name) for name in names], out=out)
    tell(comparison, page)
    return page


def tell(comparison: Mapping[str, Any], page: Path) -> None:
    """Print a comparison's table, and where its page is."""
    from wmtp.reporting.comparison import terminal

    print(terminal(comparison), end="")
    print(f"Report   {page}")


def side_by_side(
    root: Path, every: Sequence[Experiment], *, swept: Collection[str] = (), out: Path | None = None
) -> tuple[dict[str, Any], Path]:
    """The numbers of a comparison, and its page, which is written.

    Args:
        swept: the settings that were varied, where the others that differ follow from them.
        out: as in `compare`.
    Raises:
        ConfigError: fewer than two, or the cache lacks outputs of one.
        DataError: they were not evaluated on the same tasks.
    """
    from wmtp.reporting.comparison import compare as compared
    from wmtp.reporting.comparison_page import write

    if len({one.commit for one in every}) < 2:
        raise ConfigError(f"a comparison is of two experiments or more, not {', '.join(one.name for one in every) or 'none'}")
    different = kept.differing(every)
    with tempfile.TemporaryDirectory(prefix="wmtp-compare-") as folder:
        members = [_member(root, one, Path(folder) / str(number)) for number, one in enumerate(every)]
        chosen = {key: row for key, row in different.items() if f"{key}.".startswith(tuple(f"{one}." for one in swept))}
        comparison = compared(members, chosen or different, _NUM_BOOTSTRAP)
    told = hashlib.sha256("\n".join(one.commit for one in every).encode()).hexdigest()[:12]
    return comparison, write(comparison, out or root / COMPARISONS / told)


def has_results(root: Path, experiment: Experiment) -> bool:
    """Whether DVC's cache holds all of it that a comparison reads."""
    runs = experiment.params.get("runs") or {}
    contents = [experiment.outs(stage).get(path, "") for stage, (path, _) in _wanted(experiment, runs).items()]
    return None not in kept.cached_files(root, contents)


def _wanted(experiment: Experiment, runs: Iterable[str]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What a comparison reads of an experiment: by stage, its folder and the files in it."""
    wanted = {f"{stage}@{run}": (f"{path}/{run}", files) for run in runs for stage, (path, files) in _READ.items()}
    wanted["sample"] = ("artifacts/data", ("meta.json",))
    columns = experiment.params.get("columns") or {}
    for group, (stage, path) in _UPSTREAM.items():
        wanted |= {f"{stage}@{key}": (f"{path}/{key}", ("summary.json",)) for key in columns.get(group) or {}}
    return wanted


def _member(root: Path, experiment: Experiment, folder: Path) -> Any:
    """An experiment's results, laid out as in a workspace by links into the cache."""
    from wmtp.config import read_params
    from wmtp.orchestration.snapshots import read_blobs
    from wmtp.reporting.comparison import Member
    from wmtp.reporting.inputs import load_inputs

    folder.mkdir()
    (params,) = read_blobs(root, [f"{experiment.commit}:{books.PARAMS}"])
    (folder / books.PARAMS).write_text(params or "", encoding="utf-8")
    try:
        config = read_params(folder / books.PARAMS)
    except ConfigError as error:
        raise ConfigError(f"experiment {experiment.name} is of another version of wmtp: {error}") from None
    wanted = _wanted(experiment, config.runs)
    contents = {stage: experiment.outs(stage).get(path, "") for stage, (path, _) in wanted.items()}
    for (path, files), found in zip(wanted.values(), kept.cached_files(root, contents.values()), strict=True):
        if found is None:
            raise ConfigError(
                f"the cache has no {path} of {experiment.name}: `wmtp experiments restore {experiment.name}` makes it"
            )
        (folder / path).mkdir(parents=True)
        for name in files:
            if name in found:
                (folder / path / name).symlink_to(found[name])
    runs = {run: contents[f"evaluate@{run}"] for run in config.runs}
    return Member(experiment.name, config, load_inputs(config, folder), runs)


# --------------------------------------------------------------------------------------- one back


def restore(root: Path, name: str, workspace: str | None = None) -> None:
    """Bring back an experiment's code, parameters and outputs; from the default remote what the cache lacks.

    Args:
        workspace: bring it into this one beside `root`.
    Raises:
        ConfigError: as `wmtp.orchestration.experiments.restore`.
        LaunchError: neither the cache nor a remote has its outputs.
    """
    if workspace is not None:
        kept.find(root, name)
        root = open_workspace(root, workspace, print)
    changed = kept.restore(root, name)
    print(f"{name}: params.yaml, dvc.lock" + (f" and the code ({', '.join(changed)})" if changed else ""), flush=True)
    if _dvc(root, "checkout", "--force") and _dvc(root, "pull", "--force"):
        raise LaunchError(f"not all outputs of {name} are in the cache or in a remote: `wmtp run` makes what is missing")
    print(f"{name} is back: `dvc status` compares it with what is computed from it")


def _dvc(root: Path, *command: str) -> int:
    """Its exit code. What it says of every file is nobody's; its errors are."""
    environment = own_code.environment(root, os.environ) | {"DVC_NO_ANALYTICS": "1"}
    words = [sys.executable, "-m", "dvc", *command]
    return subprocess.run(words, cwd=root, env=environment, stdout=subprocess.DEVNULL, check=False).returncode
