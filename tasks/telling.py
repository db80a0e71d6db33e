"""What the run's own records of the log are, for who shows them: Prefect's pages keep all, a terminal is told what matters."""

from __future__ import annotations

import logging
from typing import Any

KIND = "wmtp_kind"
"""Attribute of a record that this project's flows and tasks made; Prefect's own have none."""

BEGINS, LINE, ENDS, TOLD = "begins", "line", "ends", "told"
"""A stage begins (with the reason), says a line, has ended (with its state); or the flow itself says something."""

STAGES = "wmtp_stages"
"""Attribute of the flow's record that says how many stages there are."""

CANCELLED = "cancelled; the next run goes on where this one stopped"

ENDINGS = logging.getLogger("wmtp.endings")
"""Of stages, for who tells a run on a terminal. Everywhere else Prefect says itself what a task finished in."""
ENDINGS.propagate = False
ENDINGS.setLevel(logging.INFO)
ENDINGS.addHandler(logging.NullHandler())


def a(kind: str, **more: Any) -> dict[str, Any]:
    """`extra` of a record of this kind."""
    return {KIND: kind, **more}
