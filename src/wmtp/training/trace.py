"""Some steps of a training as torch's profiler sees them, for chrome://tracing or ui.perfetto.dev."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from wmtp.tokens.data import Batch
    from wmtp.training.meters import StepMetrics


class Traced:
    """A step function of which `num_steps` calls are written down, with the optimizer steps between them.

    Args:
        step_function: see `TrainStep`.
        path: the file to write, compressed where its name ends in .gz; first: the 1-based step to begin with, None for no
            trace; say: told where the trace is.
    """

    def __init__(
        self,
        step_function: Callable[[Sequence[Batch], int], StepMetrics],
        path: Path,
        *,
        first: int | None,
        num_steps: int,
        say: Callable[[str], None],
    ) -> None:
        self.step_function, self.path, self.first, self.num_steps, self.say = step_function, path, first, num_steps, say
        self._profiler: Any = None
        self._last = 0

    def __call__(self, batches: Sequence[Batch], step: int) -> StepMetrics:
        if step + 1 == self.first:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            self._profiler = profile(activities=activities)
            self._profiler.start()
        elif self.first is not None and step + 1 == self.first + self.num_steps:
            self._write()
        self._last = step + 1
        return self.step_function(batches, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._write()

    def _write(self) -> None:
        if self._profiler is None:
            return
        self._profiler.stop()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._profiler.export_chrome_trace(str(self.path))
        self._profiler = None
        self.say(f"trace of steps {self.first} to {self._last}: {self.path} (open it in ui.perfetto.dev)")
