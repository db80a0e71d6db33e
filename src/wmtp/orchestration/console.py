"""Lines on a stream, and below them, where it is a terminal, a bar for each stage that is at work."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from wmtp.progress import PROGRESS_LINE

_NOISE = ("[Gloo] Rank ", "[W", "[rank")
"""Beginnings of lines from C++ libraries that a user cannot act on; they stay in the log file."""


class Console:
    """Bars change in place, and only on a terminal; elsewhere there are none.

    Args:
        stream: standard output by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._bars = _bars(self._stream) if self._stream.isatty() else None
        self._rows: dict[str, Any] = {}

    @property
    def is_terminal(self) -> bool:
        return self._bars is not None

    def show(self, line: str) -> None:
        """A stage's line as it comes: a bar where it tells of progress, or itself."""
        if _is_noise(line):
            return
        match = PROGRESS_LINE.match(line)
        if match is None or self._bars is None:
            self.say(line.removesuffix("\n"))
        else:
            self.bar(match["stage"], match["stage"], int(match["step"]), int(match["total"]), match["rest"].strip())

    def say(self, line: str) -> None:
        """A whole line, above the bars."""
        if self._bars is None:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        else:
            from rich.text import Text

            self._bars.console.print(Text(line), soft_wrap=True)

    def bar(self, key: str, name: str, done: int = 0, total: int | None = None, rest: str = "") -> None:
        """Draw, or change, the bar `key`; `total` is None where nobody knows how much there is to do."""
        if self._bars is None:
            return
        if key not in self._rows:
            self._rows[key] = self._bars.add_task(name, total=total, rest=rest)
            self._bars.start()
        self._bars.update(self._rows[key], description=name, completed=done, total=total, rest=rest)

    def remove(self, key: str) -> None:
        """Take a bar away."""
        if self._bars is not None and key in self._rows:
            self._bars.remove_task(self._rows.pop(key))

    def close(self) -> None:
        """The bars that there are stay where they are; what is said afterwards comes below them."""
        if self._bars is not None and self._rows:
            self._bars.stop()


def _bars(stream: TextIO) -> Any:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    class Steady(RichConsole):
        """Leaves the cursor alone: who is killed cannot bring it back."""

        def show_cursor(self, show: bool = True) -> bool:
            return False

    text = Column(no_wrap=True, overflow="ellipsis")
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=text),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rest]}", markup=False, table_column=text),
        TimeElapsedColumn(),
        console=Steady(file=stream, force_terminal=True),
        refresh_per_second=4,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _is_noise(line: str) -> bool:
    return line.startswith("[Gloo] Rank ") or (line.startswith(_NOISE[1:]) and ".cpp:" in line)
