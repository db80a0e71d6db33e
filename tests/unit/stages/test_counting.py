"""Rows and tasks that are read are used, or dropped for a reason."""

import pytest

from tests.tables import make_tables
from wmtp.stages.counting import row_counts, task_counts
from wmtp.tokens.data import TokenData
from wmtp.tokens.tables import read_table


def test_every_row_is_used_or_of_the_other_label(tmp_path):
    folder, *_ = make_tables(tmp_path, num_rows=30)
    make_tables(tmp_path, num_rows=20, name="validation")
    right = sum(read_table(folder / "train.arrow")["is_correct"].to_pylist())
    validation = TokenData.open(folder, "validation")
    for solutions, dropped in (("all", (0, 0)), ("correct", (30 - right, 0)), ("wrong", (0, right))):
        data = TokenData.open(folder, "train", solutions=solutions)
        assert row_counts((data, len(data)), (validation, 20)) == {
            "table/train/rows/read": 30,
            "table/train/rows/dropped/wrong": dropped[0],
            "table/train/rows/dropped/right": dropped[1],
            "table/train/rows/kept": 30 - sum(dropped),
            "table/validation/rows/read": 20,
            "table/validation/rows/dropped/wrong": 0,
            "table/validation/rows/dropped/right": 0,
            "table/validation/rows/kept": 20,
        }
    with pytest.raises(AssertionError, match="table/validation rows: 20 read = 19 kept does not add up: 1 rows"):
        row_counts((validation, 19))


def test_every_task_is_scored_or_over_the_limit():
    assert task_counts(num_read=10, num_over_limit=4, num_scored=6) == {
        "split/test/problems/read": 10,
        "split/test/problems/dropped/over_limit": 4,
        "split/test/problems/kept": 6,
    }
    with pytest.raises(AssertionError, match="1 problems unaccounted for"):
        task_counts(num_read=10, num_over_limit=4, num_scored=5)
