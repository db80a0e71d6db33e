"""Which kind of isolation works on this machine."""

from __future__ import annotations

import functools
import shutil

from wmtp.errors import EvaluationError
from wmtp.sandbox.worker import StalledError, Worker
from wmtp.types import IOTest, Program

MODES = {"bubblewrap": "bwrap", "unshare": "unshare"}
"""Kind of isolation -> the tool that it needs; the first that works is used."""


def isolation(*, allow_unsafe: bool = False) -> str:
    """How programs are isolated on this machine: `bubblewrap`, `unshare` or (only if allowed) `none`.

    Raises:
        EvaluationError: nothing works here; says what to install.
    """
    for mode in MODES:
        if not problem_with(mode):
            return mode
    if allow_unsafe:
        return "none"
    raise EvaluationError(
        "programs cannot be isolated here: "
        + "; ".join(f"{mode}: {problem_with(mode)}" for mode in MODES)
        + ". Install bubblewrap (apt-get install bubblewrap) and allow unprivileged user namespaces, "
        "or accept the risk with evaluate.sandbox.allow_unsafe=true (it is recorded in the results)"
    )


@functools.cache
def problem_with(mode: str) -> str:
    """Why `mode` does not work here; empty when it does."""
    tool = MODES[mode]
    if shutil.which(tool) is None:
        return f"{tool} is not installed"
    worker = Worker(mode)
    try:
        probe = worker.run(Program("print(input())", (IOTest("ok\n", "ok\n"),)))
        return "" if probe.passed else f"{probe.status} {probe.detail}"
    except (OSError, StalledError) as error:
        return worker.last_words(error)
    finally:
        worker.close()
