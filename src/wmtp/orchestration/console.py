"""A stage's lines on the launcher's standard output: as they are, or with a bar for progress on a terminal."""

from __future__ import annotations

import shutil
import sys

from wmtp.progress import PROGRESS_LINE

_BAR_WIDTH = 24
_NOISE = ("[Gloo] Rank ", "[W", "[rank")
"""Beginnings of lines from C++ libraries that a user cannot act on; they stay in the log file."""


class Console:
    """Shows lines; progress lines overwrite each other where standard output is a terminal."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._bar_shown = False

    def show(self, line: str) -> None:
        if _is_noise(line):
            return
        match = PROGRESS_LINE.match(line) if self._is_terminal else None
        if match is None:
            self.close()
            sys.stdout.write(line)
        else:
            step, total = int(match["step"]), int(match["total"])
            filled = _BAR_WIDTH * step // max(1, total)
            text = f"{match['stage']} [{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {step}/{total}{match['rest']}"
            sys.stdout.write("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1])
            self._bar_shown = True
        sys.stdout.flush()

    def close(self) -> None:
        """Leave the last bar on its line."""
        if self._bar_shown:
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._bar_shown = False


def _is_noise(line: str) -> bool:
    return line.startswith("[Gloo] Rank ") or (line.startswith(_NOISE[1:]) and ".cpp:" in line)
