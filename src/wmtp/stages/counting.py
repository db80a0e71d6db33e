"""The ledgers of the stages that read what `sample` wrote: rows of the token tables, and test problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wmtp.ledger import Ledger

if TYPE_CHECKING:
    from wmtp.tokens.data import TokenData


def row_counts(*tables: tuple[TokenData, int]) -> dict[str, int]:
    """Of every table: all its rows are read, those of a label that is not asked for dropped, the others used.

    Args:
        tables: a table, and how many of its rows are trained on, validated on or scored: counted by whoever does it.
    Raises:
        AssertionError: rows that are neither dropped nor used.
    """
    ledger = Ledger()
    for data, num_used in tables:
        line = ledger.line(f"table/{data.path.stem}", "rows")
        line.read(data.arrow.num_rows)
        unused = np.ones(data.arrow.num_rows, dtype=bool)
        unused[data.selected] = False
        line.drop("wrong", int((unused & ~data.is_correct).sum()))
        line.drop("right", int((unused & data.is_correct).sum()))
        line.keep(num_used)
    return ledger.counts()


def task_counts(*, num_read: int, num_over_limit: int, num_scored: int) -> dict[str, int]:
    """Test problems: read, left out by `evaluate.limit`, scored.

    Raises:
        AssertionError: problems that are neither left out nor scored.
    """
    ledger = Ledger()
    line = ledger.line("split/test", "problems")
    line.read(num_read)
    line.drop("over_limit", num_over_limit)
    line.keep(num_scored)
    return ledger.counts()
