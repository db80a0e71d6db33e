"""What programs may take where somebody says so, in place of what the benchmark says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from wmtp.errors import ConfigError
from wmtp.tasksets.base import TaskSet
from wmtp.types import Problem

MAX_TIMEOUT_S = 3600.0
MIN_MEMORY_MIB = 64
"""A bare interpreter takes about 10, so with less hardly anything runs."""
MAX_MEMORY_MIB = 2**20


@dataclass(frozen=True)
class Allowance:
    """`--timeout` and `--memory`; None is as the benchmark, or the problem, has it.

    Attributes:
        timeout: seconds for each test on standard input, or for all asserts together; times the machine's factor.
        memory: MiB for a program.
    """

    timeout: float | None = None
    memory: int | None = None

    def require_use(self, taskset: TaskSet) -> None:
        """Raises:
        ConfigError: it bounds programs, and answers of these tasks are none.
        """
        given = [f"--{name}" for name, value in asdict(self).items() if value is not None]
        if given and taskset.judge is not None:
            raise ConfigError(f"{taskset.name} has answers that are texts: there is no program for {given[0]} to bound")

    def of(self, problems: Sequence[Problem]) -> list[Problem]:
        """The problems with these limits in place of their own."""
        changes: dict[str, Any] = {}
        if self.timeout is not None:
            changes["time_limit_s"] = self.timeout
        if self.memory is not None:
            changes["memory_limit_bytes"] = self.memory * 2**20
        return [replace(problem, **changes) for problem in problems]

    def as_dict(self) -> dict[str, float | int | None]:
        """What was asked for, by the names of the options."""
        return asdict(self)


AS_PUBLISHED = Allowance()
