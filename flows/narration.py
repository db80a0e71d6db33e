"""What `wmtp run` says on standard error: a line where a stage begins and ends, what it counted and measured once, and
whatever is worth knowing in between. On a terminal there is a bar for each stage at work; elsewhere its progress is a line now
and then. The rest is in `.wmtp/logs/`, on Prefect's pages, and here with `--verbose`.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tasks.telling import BEGINS, ENDINGS, ENDS, KIND, LINE, STAGES
from wmtp.orchestration.console import Console
from wmtp.progress import COUNTING_LINE, PROGRESS_LINE

SECONDS_BETWEEN_LINES = 30.0
"""Of a stage's progress, where it cannot change in place; more the longer it takes, so that a day's run stays readable."""
GROWTH = 0.1

_ALL = "stages"
_CHATTER = ("Running stage", "Generating lock file", "Updating lock file", "Stage '", "Pulling data for", "  ", "report reads")
"""Beginnings of lines that say what is said better when the stage begins and ends, or that are long lists."""
_ENDED = ("Finished in state", "Crash detected! Execution was aborted by a")
"""Prefect's words on an end, and on one that a person asked for: said in others already."""
_WAITS = re.compile(r"^waiting for ")
_STARTING = "starting"


@dataclass
class _Stage:
    """One that has begun: when, what it said of its result, and when its progress was last told.

    `waits_since`: when it said for what it waits, while it does; `waited`: for how long it has before.
    """

    began: float
    result: str = ""
    told: float = field(default=0.0)
    waits_since: float | None = None
    waited: float = 0.0

    def heard(self, now: float, *, waits: bool) -> None:
        """It said something: that it waits, or what shows that it does no more."""
        if not waits and self.waits_since is not None:
            self.waited, self.waits_since = self.waited + now - self.waits_since, None
        elif waits and self.waits_since is None:
            self.waits_since = now

    def took(self, now: float) -> str:
        """Its time at work, and how long it waited before."""
        self.heard(now, waits=False)
        waited = f" after {self.waited:.0f} s of waiting" if self.waited >= 1 else ""
        return f"{now - self.began - self.waited:.0f} s{waited}"


class Narrator(logging.Handler):
    """Takes the place of Prefect's handler for consoles."""

    def __init__(self, console: Console, *, is_verbose: bool, now: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._console, self._is_verbose, self._now = console, is_verbose, now
        self._stages: dict[str, _Stage] = {}
        self._total, self._num_ended = 0, 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._tell(record)
        except Exception:  # as every handler: what cannot be shown must not end what is shown
            self.handleError(record)

    def say(self, text: str) -> None:
        self._console.say(f"{time.strftime('%H:%M:%S', time.localtime(self._now()))} {text}")

    def _tell(self, record: logging.LogRecord) -> None:
        kind, text = getattr(record, KIND, None), record.getMessage()
        stage = str(getattr(record, "task_run_name", ""))
        if kind is None:
            is_end = text.startswith(_ENDED)
            if self._is_verbose or (record.levelno >= logging.WARNING and not is_end):
                self.say(f"{record.name}: {text}")
        elif kind == BEGINS:
            self._stages[stage] = _Stage(self._now(), told=self._now())
            self.say(_named(stage, f"begins ({text.removeprefix(f'{stage}: ')})"))
            self._console.bar(stage, stage, rest=_STARTING)
        elif kind == LINE and record.levelno < logging.WARNING:
            self._line(stage, text)
        elif kind == ENDS:
            self._end(stage, text)
        else:
            self._total = getattr(record, STAGES, self._total)
            self._num_ended = 0 if hasattr(record, STAGES) else self._num_ended
            self.say(_named(stage, text) if stage else text)
            self._show_all()

    def _line(self, stage: str, text: str) -> None:
        known = self._stages.setdefault(stage, _Stage(self._now(), told=self._now()))
        known.heard(self._now(), waits=_WAITS.match(text) is not None)
        progress, is_result = PROGRESS_LINE.match(text), text.startswith(f"{stage} done")
        if progress is not None:
            done, total = int(progress["step"]), int(progress["total"])
            self._console.bar(stage, progress["stage"], done, total, progress["rest"].strip())
        if is_result:
            known.result = text.partition(": ")[2]
        if self._is_verbose and not (progress is not None and self._console.is_terminal):
            self.say(_named(stage, text))
        elif progress is not None or COUNTING_LINE.search(text):
            self._now_and_then(known, stage, text)
        elif not is_result and not text.startswith(_CHATTER):
            if _WAITS.match(text):
                self._console.bar(stage, stage, rest=text)
            self.say(_named(stage, text))

    def _now_and_then(self, known: _Stage, stage: str, text: str) -> None:
        now = self._now()
        if not self._console.is_terminal and now - known.told >= max(SECONDS_BETWEEN_LINES, GROWTH * (now - known.began)):
            known.told = now
            self.say(_named(stage, text))

    def _end(self, stage: str, text: str) -> None:
        known = self._stages.pop(stage, None)
        self._console.remove(stage)
        self._num_ended += 1
        if known is None:
            self.say(_named(stage, text))
        else:
            result = f" ({known.result})" if known.result else ""
            self.say(_named(stage, f"{text}, {known.took(self._now())}{result}"))
        self._show_all()

    def _show_all(self) -> None:
        if self._total:
            self._console.bar(_ALL, _ALL, min(self._num_ended, self._total), self._total)

    def close(self) -> None:
        self._console.remove(_ALL)
        for stage in self._stages:
            self._console.remove(stage)
        self._console.close()
        super().close()


def _named(stage: str, text: str) -> str:
    """Whose line it is; many say so themselves."""
    return text if text.startswith((f"{stage}:", f"{stage} ")) else f"{stage}: {text}"


@contextmanager
def narrated(*, is_verbose: bool) -> Iterator[None]:
    """Have a narrator instead of Prefect's console while the block lasts; afterwards what Prefect says is for its pages alone.

    Prefect must have been imported.
    """
    from prefect.logging.handlers import PrefectConsoleHandler

    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, PrefectConsoleHandler):
            root.removeHandler(handler)
    narrator = Narrator(Console(sys.stderr), is_verbose=is_verbose)
    for logger in (root, ENDINGS):
        logger.addHandler(narrator)
    try:
        yield
    finally:
        for logger in (root, ENDINGS):
            logger.removeHandler(narrator)
        narrator.close()
