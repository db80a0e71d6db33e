"""What the stages read that no stage made: files and folders that are given, and what is fetched from the hub once.

DVC needs paths, so a hub id becomes a stage that downloads it into a folder, and who reads it depends on that folder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wmtp.checks import one_of, require
from wmtp.config.data import MAX_BENCHMARKS, benchmark_path
from wmtp.config.evaluation import MAX_BESIDE
from wmtp.problems.splits import base_of

if TYPE_CHECKING:
    from wmtp.config.arms import ColumnConfig
    from wmtp.config.schema import Config

MADE = "artifacts"
"""What stages make lies here."""

DOWNLOADS = f"{MADE}/downloads"

_HUB_IDS = {
    "model": re.compile(r"[\w-][\w.-]*/[\w.-]+@[^:@\s]+"),
    "tokenizer": re.compile(r"[\w-][\w.-]*/[\w.-]+@[^:@\s]+"),
    "data": re.compile(r"[\w-][\w.-]*/[\w.-]+(:[^:@/\s]+){1,2}@[^:@\s]+"),
}


@dataclass(frozen=True)
class InputsConfig:
    """Paths that decide which edges the pipeline has; composed, never chosen. One that a profile or an arm does not
    need is a path that another dependency of the stage already names (DVC needs a path).

    `reference`: documents that the reference is tuned on. `taskset`: the module of `data.source`, which is loaded by that name.
    `published`: readers that such modules share.
    `reference_model`, `critic_model`, `policy_model`: what those trainings start from, where that is given.
    `beside`: results that the report shows beside its runs'.
    """

    train: str = "src/wmtp/stages/sample.py"
    validation: str = "src/wmtp/stages/sample.py"
    benchmarks: list[str] = field(default_factory=lambda: ["src/wmtp/stages/sample.py"] * MAX_BENCHMARKS)
    reference: str = "src/wmtp/stages/sample.py"
    test: str = "src/wmtp/stages/sample.py"
    tokenizer: str = "src/wmtp/stages/sample.py"
    reference_model: str = "artifacts/data"
    critic_model: str = "artifacts/data"
    policy_model: str = "artifacts/data"
    reference_training: str = "artifacts/data"
    critic_training: str = "artifacts/data"
    taskset: str = "src/wmtp/tasksets/synthetic.py"
    published: str = "src/wmtp/tasksets/synthetic.py"
    testlib: str = "src/wmtp/sandbox/testlib.py"
    beside: list[str] = field(default_factory=lambda: ["artifacts/data"] * MAX_BESIDE)


@dataclass(frozen=True)
class DownloadConfig:
    """Something on the hub: a `model` or `tokenizer` (`owner/name@revision`), or `data` (see docs/data.md); composed."""

    kind: str
    source: str

    def __post_init__(self) -> None:
        one_of("downloads.kind", self.kind, tuple(_HUB_IDS))
        require(is_hub_id(self.source, self.kind), "downloads.source", self.source, f"a hub id, {pinned(self.kind)}")

    @property
    def key(self) -> str:
        """Its stage's, and its folder's name: readable, and another one for another id."""
        digits = hashlib.sha256(f"{self.kind} {self.source}".encode()).hexdigest()[:8]
        return f"{self.kind}-{re.sub(r'[^A-Za-z0-9]+', '-', self.source).strip('-')}-{digits}"


@dataclass(frozen=True)
class Given:
    """A value that a person gave and that names something to read, by its key: a kind of `DownloadConfig`'s, `header`
    or `results`."""

    key: str
    kind: str
    value: str

    @property
    def path(self) -> str:
        """The file or folder that stages depend on: relative to the workspace, or absolute."""
        there = located(self.value, self.kind)
        return base_of(there) if self.kind == "data" else there


def is_hub_id(value: str, kind: str) -> bool:
    """Told by the form alone, `owner/name@revision`: what a configuration means does not depend on what lies around."""
    return kind in _HUB_IDS and _HUB_IDS[kind].fullmatch(value) is not None


def from_hub(kind: str) -> bool:
    """Whether such things are also to be had from the hub."""
    return kind in _HUB_IDS


def located(value: str, kind: str) -> str:
    """The path itself, or the folder that a hub id is downloaded to."""
    return f"{DOWNLOADS}/{DownloadConfig(kind, value).key}" if is_hub_id(value, kind) else value


def given(config: Config) -> Iterator[Given]:
    """Everything that the configured stages read and that a key of the configuration names."""
    values = (
        ("data.train_path", "data", config.data.train_path),
        ("data.validation_path", "data", config.data.validation_path),
        ("data.reference_path", "data", config.data.reference_path),
        ("data.test_path", "data", config.data.test_path),
        *((f"data.benchmarks[{i}]", "data", benchmark_path(entry)) for i, entry in enumerate(config.data.benchmarks)),
        ("tune_reference.model.pretrained", "model", config.tune_reference.model.pretrained),
        ("train_critic.model.pretrained", "model", config.train_critic.model.pretrained),
        ("train_policy.model.pretrained", "model", config.train_policy.model.pretrained),
        ("data.tokenizer.path", "tokenizer", config.data.tokenizer.path),  # may be one of these, so an error names them
        ("evaluate.sandbox.testlib", "header", config.evaluate.sandbox.testlib),
        *((f"report.beside.{name}", "results", folder) for name, folder in sorted(config.report.beside.items())),
    )
    for key, kind, value in values:
        if value is not None:
            yield Given(key, kind, value)


def compose_downloads(config: Config) -> dict[str, DownloadConfig]:
    """What is to be fetched from the hub, by key."""
    wanted = [DownloadConfig(one.kind, one.value) for one in given(config) if is_hub_id(one.value, one.kind)]
    return {one.key: one for one in sorted(wanted, key=lambda one: one.key)}


def compose_inputs(config: Config, columns: Mapping[str, Mapping[str, ColumnConfig]]) -> InputsConfig:
    """What is given, the module of the source, and the training records of the models that make the runs' `columns`."""
    default, data = InputsConfig(), config.data
    paths = {one.key: one.path for one in given(config)}
    beside = [path for key, path in paths.items() if key.startswith("report.beside.")]
    return InputsConfig(
        train=paths.get("data.train_path", default.train),
        validation=paths.get("data.validation_path", default.validation),
        benchmarks=[paths.get(f"data.benchmarks[{i}]", unused) for i, unused in enumerate(default.benchmarks)],
        reference=paths.get("data.reference_path", default.reference),
        test=paths.get("data.test_path", default.test),
        tokenizer=paths.get("data.tokenizer.path", default.tokenizer),
        reference_model=paths.get("tune_reference.model.pretrained", default.reference_model),
        critic_model=paths.get("train_critic.model.pretrained", default.critic_model),
        policy_model=paths.get("train_policy.model.pretrained", default.policy_model),
        reference_training="artifacts/tuning/reference" if columns["reference"] else default.reference_training,
        critic_training="artifacts/tuning/critic" if columns["value"] else default.critic_training,
        taskset="src/wmtp/problems/documents.py" if data.is_documents else f"src/wmtp/tasksets/{data.source}.py",
        published=default.published if data.is_generated or data.is_documents else "src/wmtp/problems/published",
        testlib=paths.get("evaluate.sandbox.testlib", default.testlib),
        beside=[*beside, *default.beside[len(beside) :]],
    )


def pinned(kind: str) -> str:
    """The form of its hub ids."""
    return "owner/name:split@REVISION or owner/name:config:split@REVISION" if kind == "data" else "owner/name@REVISION"
