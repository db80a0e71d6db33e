"""What a person asks of a run in Prefect's UI while it is at work: to be suspended, or to be cancelled.

Prefect itself looks at a suspension between tasks, which may take days. A cancellation it leaves to the worker that started the
run: of a point of a sweep, and of `wmtp run`, no worker knows.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect import runtime
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext

from tasks.stage import best_effort, stop_all
from wmtp.orchestration import processes

_SUSPENSION_SECONDS, _CANCELLATION_SECONDS = 1.0, 5.0
"""How often each is looked up: the first in this process, the second on the server."""
_ENDING = (StateType.CANCELLING, StateType.CANCELLED)


class CancelledByPersonError(Exception):
    """The run, or the sweep that it is a point of, was cancelled where no worker ends its process."""


class Asked:
    """Of the flow run that makes it."""

    def __init__(self) -> None:
        context = FlowRunContext.get()
        assert context is not None
        self._suspension = context.flow_run_suspension_request
        ids = {runtime.flow_run.id, runtime.flow_run.parent_flow_run_id}
        self._unwatched = {UUID(str(one)) for one in ids - {None, os.environ.get("PREFECT__FLOW_RUN_ID")}}
        self._is_cancelled, self._next = False, time.monotonic()

    def obey(self, *, at_once: bool = True) -> None:
        """
        Args:
            at_once: look at the server, however short ago that was.
        Raises:
            CancelledByPersonError; Pause: Prefect's own, for its engine.
        """
        self._suspension.raise_if_requested()
        if self._look(at_once):
            raise CancelledByPersonError

    def sleep(self, seconds: float) -> None:
        """Raises: as `obey`."""
        self.obey(at_once=False)
        time.sleep(seconds)

    @contextmanager
    def ends_stages(self) -> Iterator[None]:
        """While the block lasts, stages end as soon as anything is asked. Their checkpoints are what the run goes on from.

        Raises:
            as `obey`, at the block's end.
        """

        def watch(done: threading.Event) -> None:
            while not done.wait(_SUSPENSION_SECONDS):
                if self._suspension.is_requested() or self._look():
                    stop_all()
                    return

        with processes.beside(watch, "watch-requests"):
            yield
        self.obey()

    def _look(self, at_once: bool = False) -> bool:
        """Whether it was cancelled, as far as is known."""
        if self._unwatched and not self._is_cancelled and (at_once or time.monotonic() >= self._next):
            with best_effort() as client:
                states = [client.read_flow_run(one).state for one in self._unwatched]
                self._is_cancelled = any(state is not None and state.type in _ENDING for state in states)
            self._next = time.monotonic() + _CANCELLATION_SECONDS
        return self._is_cancelled
