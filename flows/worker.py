"""Prefect's command line, with a worker that a run may come back to while the process that it left still ends.

A worker with a limit remembers which runs have a process. One that was suspended and is resumed at once is scheduled before its
old process is gone; Prefect 3.8's worker takes it for a mistake of its own, and ends with all that it runs.
"""

from __future__ import annotations

from typing import Any

from prefect.workers.process import ProcessWorker

_submit = ProcessWorker._submit_scheduled_flow_runs


async def _submit_what_has_ended(self: Any, flow_run_response: list[Any]) -> list[Any]:
    """Runs that have a process still are asked for again in the next round."""
    at_work = self._limiter.statistics().borrowers if self._limiter else ()
    return await _submit(self, [each for each in flow_run_response if each.flow_run.id not in at_work])


def main() -> None:
    """Raises SystemExit, as `prefect` does."""
    from prefect.cli import app

    ProcessWorker._submit_scheduled_flow_runs = _submit_what_has_ended  # type: ignore[method-assign]
    app()


if __name__ == "__main__":
    main()
