"""Results of `wmtp evaluate` that stand beside the arms: of the same tasks, drawn, asked and judged alike, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmtp.config.inputs import MADE
from wmtp.errors import ConfigError
from wmtp.files import parse_json
from wmtp.problems.records import version_of

if TYPE_CHECKING:
    from wmtp.config.evaluation import EvaluateConfig
    from wmtp.config.schema import Config

_ASKED_BY = {
    "benchmark": "the benchmark",
    "dataset.md5": "--data artifacts/data/test_problems.jsonl",
    "limit": "--limit",
    "num_samples": "--num-samples",
    "sampling.temperature": "--temperature",
    "sampling.top_p": "--top-p",
    "sampling.max_new_tokens": "--max-new-tokens",
    "sandbox.limits": "--timeout and --memory",
    "prompt": "--prompt, --chat-template, --num-shots and --sanitize",
}
"""What decides a score beside the model, by its place in metrics.json, and the argument of `wmtp evaluate` that decides it."""

Facts = dict[str, Any]
"""Values by these places."""


def facts_of(metrics: Mapping[str, Any]) -> Facts:
    """What an evaluation's metrics.json says of them; None where it says nothing."""
    return {name: _at(metrics, name) for name in _ASKED_BY}


def _at(metrics: Mapping[str, Any], name: str) -> Any:
    value: Any = metrics
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def facts_due(evaluate: EvaluateConfig) -> Facts:
    """What they have to be as far as the configuration alone says."""
    sampling = {f"sampling.{key}": getattr(evaluate, key) for key in ("temperature", "top_p", "max_new_tokens")}
    return {"benchmark": evaluate.benchmark, "limit": evaluate.limit, "num_samples": evaluate.num_samples, **sampling}


def read_results(folder: Path, where: str) -> dict[str, Any]:
    """What `folder/metrics.json` holds.

    Args:
        where: how an error begins, `report.beside.theirs=results/theirs`.
    Raises:
        ConfigError: it is no folder of what `wmtp evaluate` writes.
    """
    hint = "not what `wmtp evaluate ... --out FOLDER` writes"
    try:
        metrics = parse_json((folder / "metrics.json").read_bytes())
    except (OSError, ValueError) as error:
        reason = "it has no metrics.json" if isinstance(error, FileNotFoundError | NotADirectoryError) else str(error)
        raise ConfigError(f"{where} is {hint}: {reason}") from None
    lacks = [name for name in ("model", "sampling.temperature") if _at(metrics, name) is None]
    if lacks or not (folder / "per_task.csv").is_file():
        raise ConfigError(f"{where} is {hint}: it has no {lacks[0] if lacks else 'per_task.csv'}")
    found: dict[str, Any] = metrics
    return found


def require_alike(metrics: Mapping[str, Any], due: Facts, where: str) -> None:
    """
    Raises:
        ConfigError: names the first fact that is another than is due, both values, and what would make it so.
    """
    found = facts_of(metrics)
    for name, value in due.items():
        if found[name] != value:
            mend = f"evaluate it again with the same ({_ASKED_BY[name]})"
            raise ConfigError(f"{where} has {name}={found[name]!r}, and the runs have {value!r}: {mend}")


def require_problems(root: Path, config: Config) -> None:
    """
    Raises:
        ConfigError: results of other problems than those that the workspace has made for its runs.
    """
    due = {"dataset.md5": version_of(str(root / MADE / "data" / "test_problems.jsonl"))["md5"]}
    for name, folder in config.report.beside.items():
        where = f"report.beside.{name}={folder}"
        require_alike(read_results(root / folder, where), due, where)
