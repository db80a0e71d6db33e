"""The packages that programs are offered: found, and imported once inside of the sandbox before anything else starts."""

from __future__ import annotations

from collections.abc import Sequence

from wmtp.errors import ConfigError
from wmtp.sandbox.packages import Package, find_packages
from wmtp.sandbox.pool import run_tests
from wmtp.types import IOTest, Limits, Program

LIMITS = Limits(time_limit_s=60.0)
"""Of importing one."""


def offered_packages(
    wanted: Sequence[str] | None, usual: Sequence[str] = (), *, allow_unsafe: bool = False
) -> tuple[Package, ...]:
    """Packages by name, see `find_packages`; every one of them can be imported in the sandbox.

    Raises:
        ConfigError: one is not installed, cannot be offered or cannot be imported; EvaluationError: no isolation.
    """
    packages = find_packages(wanted, usual)
    programs = [Program("".join(f"import {module}\n" for module in each.modules), (IOTest("", ""),)) for each in packages]
    verdicts = run_tests(programs, limits=LIMITS, num_workers=1, allow_unsafe=allow_unsafe, packages=packages)
    for package, verdict in zip(packages, verdicts, strict=True):
        if not verdict.passed:
            raise ConfigError(
                f"the package {package.name} cannot be imported in the sandbox ({verdict.status}: {verdict.detail}): "
                "name what it needs as well, or leave it out (evaluate.sandbox.packages, --packages)"
            )
    return packages
