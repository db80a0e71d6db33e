"""What `evaluate` and `report` are configured with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from wmtp import tasksets
from wmtp.checks import NAME, one_of, require, require_seed
from wmtp.problems import documents


@dataclass(frozen=True)
class SandboxConfig:
    """`allow_unsafe` runs programs without isolation where none can be had; it is recorded in the results.

    `packages`: installed packages that programs and tests can import beside the standard library. Null: those that the
    benchmark's own environment has (numpy for HumanEval, CodeContests and own data), where they are installed.

    `testlib`: path of testlib.h, or of its folder: problems of CodeContests+ have checkers in C++ that are compiled with it.
    """

    allow_unsafe: bool = False
    packages: Optional[list[str]] = None
    time_limit_s: float = 4.0
    memory_limit_bytes: int = 536870912
    testlib: Optional[str] = None

    def __post_init__(self) -> None:
        require(self.testlib is None or self.testlib.strip() != "", "evaluate.sandbox.testlib", self.testlib, "a path, or null")
        require(self.time_limit_s > 0, "evaluate.sandbox.time_limit_s", self.time_limit_s, "a positive number")
        require(
            self.memory_limit_bytes >= 2**26, "evaluate.sandbox.memory_limit_bytes", self.memory_limit_bytes, "at least 64 MiB"
        )


@dataclass(frozen=True)
class EvaluateConfig:
    """`num_samples` completions per task at `temperature`, plus one greedy one.

    `benchmark`: the task set by whose conventions completions are asked for and judged. Null is `data.source`, which
    composition fills in; nothing else fits, because the test problems are the source's. Documents have none: there the held-out
    NLL is all that is measured, and nothing is completed.
    """

    benchmark: str = "synthetic"
    num_samples: int = 10
    temperature: float = 0.8
    top_p: float = 0.95
    max_new_tokens: int = 128
    seed: int = 0
    limit: Optional[int] = None
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)

    def __post_init__(self) -> None:
        one_of("evaluate.benchmark", self.benchmark, (*tasksets.names(), *documents.KINDS))
        for key in ("num_samples", "max_new_tokens"):
            require(getattr(self, key) > 0, f"evaluate.{key}", getattr(self, key), "a positive whole number")
        require_seed("evaluate.seed", self.seed)
        require(
            self.temperature > 0,
            "evaluate.temperature",
            self.temperature,
            "a positive number (the greedy score is always reported too)",
        )
        require(0 < self.top_p <= 1, "evaluate.top_p", self.top_p, "a number in (0, 1]")
        require(
            self.limit is None or self.limit > 0, "evaluate.limit", self.limit, "a positive whole number, or null for all tasks"
        )


MAX_BESIDE = 4
"""As many as dvc.yaml has places for."""


@dataclass(frozen=True)
class ReportConfig:
    """pass@k is shown for every k in `k`.

    `beside`: `{NAME: FOLDER}` of checkpoints that no run here has trained: folders that `wmtp evaluate` has written for the
    test problems of the report, with the settings of `evaluate`. Each is shown beside the arms as one checkpoint.
    """

    title: str = "wmtp"
    k: list[int] = field(default_factory=lambda: [1, 10])
    baseline_arm: str = "baseline"
    num_examples: int = 3
    num_bootstrap: int = 2000
    beside: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = all(NAME.fullmatch(name) and folder.strip() for name, folder in self.beside.items())
        rule = f"at most {MAX_BESIDE} folders of results, each with a name of letters, digits, _ and -"
        require(named and len(self.beside) <= MAX_BESIDE, "report.beside", self.beside, rule)
        listed = 1 in self.k and min(self.k) == 1 and len(set(self.k)) == len(self.k)
        require(listed, "report.k", self.k, "1 and any larger ones, each once: arms are compared by pass@1")
        require(self.num_examples >= 0, "report.num_examples", self.num_examples, "0 or more")
        require(self.num_bootstrap > 0, "report.num_bootstrap", self.num_bootstrap, "a positive whole number")
