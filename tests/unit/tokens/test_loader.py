"""Order, joining and padding of the one loader."""

import numpy as np
import pyarrow as pa
import pytest

from tests.tables import make_tables
from wmtp.errors import DataError
from wmtp.tokens.loader import WINDOW_BATCHES, Rows, TrainLoader, sequential_batches
from wmtp.tokens.tables import read_table, write_table
from wmtp.types import IGNORE_INDEX


@pytest.fixture
def folders(tmp_path):
    return make_tables(tmp_path)


@pytest.fixture
def rows(folders):
    return Rows(folders[0] / "train.arrow", {"reference_nll": folders[1]})


def loader(rows, **changes):
    arguments = {"batch_size": 8, "num_micro": 1, "seed": 3, "pad_token_id": 0} | changes
    return TrainLoader(rows, **arguments)


def test_batches_hold_the_rows_tokens_labels_and_scores(rows):
    batch = rows.collate([3, 0], [0, 1], pad_token_id=0)
    for i, row in enumerate([3, 0]):
        tokens = rows.tokens[rows.offsets[row] : rows.offsets[row + 1]]
        n, prompt = len(tokens), rows.prompt_lens[row]
        assert batch.input_ids[i, :n].tolist() == tokens.tolist() and (batch.input_ids[i, n:] == 0).all()
        assert (batch.labels_BT[i, :prompt] == IGNORE_INDEX).all() and (batch.labels_BT[i, n:] == IGNORE_INDEX).all()
        assert batch.labels_BT[i, prompt:n].tolist() == tokens[prompt:].tolist()
        scores = rows.columns["reference_nll"][rows.offsets[row] : rows.offsets[row + 1]]
        np.testing.assert_array_equal(batch.columns["reference_nll"][i, :n], scores)


def test_the_global_batch_does_not_depend_on_ranks_or_micro_batches(rows):
    for step in (0, 5, WINDOW_BATCHES + 1):
        expected = loader(rows).global_rows(step)
        for world_size, num_micro in ((2, 1), (2, 2), (4, 2)):
            seen = {}
            for rank in range(world_size):
                for batch in loader(rows, rank=rank, world_size=world_size, num_micro=num_micro).micro_batches(step):
                    seen.update(zip(batch.slots_B.tolist(), batch.rows_B.tolist(), strict=True))
            assert [seen[slot] for slot in range(8)] == expected.tolist()


def test_every_row_comes_once_an_epoch_and_steps_can_be_taken_in_any_order(rows):
    there = [loader(rows).global_rows(step).tolist() for step in range(WINDOW_BATCHES)]
    one = loader(rows)
    assert [one.global_rows(step).tolist() for step in reversed(range(WINDOW_BATCHES))][::-1] == there
    counts = np.bincount(np.concatenate(there), minlength=48)
    assert counts.sum() == WINDOW_BATCHES * 8 and counts.max() - counts.min() <= 1
    assert loader(rows, seed=4).global_rows(0).tolist() != there[0]


def test_batches_are_of_similar_lengths(rows):
    one = loader(rows)
    real = padded = 0
    for step in range(WINDOW_BATCHES):
        (batch,) = one.micro_batches(step)
        real, padded = real + int(batch.lengths_B.sum()), padded + batch.input_ids.numel()
    assert real / padded > 0.93


def test_sequential_batches_cover_every_row_and_every_rank_gets_as_many(rows):
    for world_size in (1, 2, 3):
        parts = [
            list(sequential_batches(rows, batch_tokens=60, pad_token_id=0, rank=r, world_size=world_size))
            for r in range(world_size)
        ]
        assert len({len(part) for part in parts}) == 1
        seen = sorted(row for part in parts for batch in part for row in batch.rows_B.tolist() if row >= 0)
        assert seen == list(range(48))
        assert all(batch.input_ids.numel() <= 60 for part in parts for batch in part)


def test_correct_only_and_errors(folders, rows):
    data, reference, _ = folders
    correct = Rows(data / "train.arrow", correct_only=True)
    assert correct.is_correct[correct.selected].all() and len(correct) < len(rows)
    with pytest.raises(ValueError, match="cannot be divided"):
        loader(rows, batch_size=9, world_size=2)
    other = read_table(reference / "train.arrow").replace_schema_metadata({b"wmtp_fingerprint": b"other"})
    write_table(reference / "train.arrow", pa.table(other))
    with pytest.raises(DataError, match="another version"):
        Rows(data / "train.arrow", {"reference_nll": reference})
    with pytest.raises(DataError, match="does not exist"):
        Rows(data / "train.arrow", {"value": data / "missing"})


@pytest.mark.parametrize("budget", [1, 20, 40, 1000])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_a_token_budget_holds_on_every_rank_and_loses_nothing(rows, budget, world_size):
    for step in range(4):
        parts = [
            loader(rows, micro_tokens=budget, rank=r, world_size=world_size).micro_batches(step) for r in range(world_size)
        ]
        assert len({len(part) for part in parts}) == 1
        seen = {
            slot: row for part in parts for b in part for slot, row in zip(b.slots_B.tolist(), b.rows_B.tolist(), strict=True)
        }
        assert [seen[slot] for slot in range(8)] == loader(rows).global_rows(step).tolist()
        assert all(b.input_ids.numel() <= budget or len(b.rows_B) == 1 for part in parts for b in part)


def test_a_budget_takes_no_more_micro_batches_than_it_must(rows):
    (one,) = loader(rows, micro_tokens=10_000).micro_batches(0)
    assert len(one.rows_B) == 8
    assert len(loader(rows, micro_tokens=1).micro_batches(0)) == 8


def test_without_shuffling_the_tables_order_is_kept_but_for_lengths_within_a_window(rows):
    one = loader(rows, shuffle=False)
    window = np.concatenate([one.global_rows(step) for step in range(WINDOW_BATCHES)])
    order = np.resize(np.arange(48), len(window))
    lengths = rows.lengths
    assert window.tolist() == order[np.argsort(lengths[order], kind="stable")].tolist()
