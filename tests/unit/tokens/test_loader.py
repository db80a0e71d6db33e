"""Order, batches and micro-batches of the training loader."""

import numpy as np
import pytest

from tests.tables import make_tables
from wmtp.tokens.data import TokenData
from wmtp.tokens.loader import WINDOW_BATCHES, TrainLoader


@pytest.fixture
def data(tmp_path):
    return TokenData.open(make_tables(tmp_path)[0], "train")


def loader(data, **changes):
    arguments = {"batch_size": 8, "num_micro": 1, "seed": 3} | changes
    return TrainLoader(data, **arguments)


def test_the_global_batch_does_not_depend_on_ranks_or_micro_batches(data):
    for step in (0, 5, WINDOW_BATCHES + 1):
        expected = loader(data).global_rows(step)
        for world_size, num_micro in ((2, 1), (2, 2), (4, 2)):
            seen = {}
            for rank in range(world_size):
                for batch in loader(data, rank=rank, world_size=world_size, num_micro=num_micro).micro_batches(step):
                    seen.update(zip(batch.slots_B.tolist(), batch.rows_B.tolist(), strict=True))
            assert [seen[slot] for slot in range(8)] == expected.tolist()


def test_every_row_comes_once_an_epoch_and_steps_can_be_taken_in_any_order(data):
    there = [loader(data).global_rows(step).tolist() for step in range(WINDOW_BATCHES)]
    one = loader(data)
    assert [one.global_rows(step).tolist() for step in reversed(range(WINDOW_BATCHES))][::-1] == there
    counts = np.bincount(np.concatenate(there), minlength=48)
    assert counts.sum() == WINDOW_BATCHES * 8 and counts.max() - counts.min() <= 1
    assert loader(data, seed=4).global_rows(0).tolist() != there[0]


def test_batches_are_of_similar_lengths(data):
    one = loader(data)
    real = padded = 0
    for step in range(WINDOW_BATCHES):
        (batch,) = one.micro_batches(step)
        real, padded = real + int(batch.lengths_B.sum()), padded + batch.input_ids.numel()
    assert real / padded > 0.93


def test_a_batch_that_cannot_be_dealt_out_is_refused(data):
    with pytest.raises(ValueError, match="cannot be divided"):
        loader(data, batch_size=9, world_size=2)


@pytest.mark.parametrize("budget", [1, 20, 40, 1000])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_a_token_budget_holds_on_every_rank_and_loses_nothing(data, budget, world_size):
    for step in range(4):
        parts = [
            loader(data, micro_tokens=budget, rank=r, world_size=world_size).micro_batches(step) for r in range(world_size)
        ]
        assert len({len(part) for part in parts}) == 1
        seen = {
            slot: row for part in parts for b in part for slot, row in zip(b.slots_B.tolist(), b.rows_B.tolist(), strict=True)
        }
        assert [seen[slot] for slot in range(8)] == loader(data).global_rows(step).tolist()
        assert all(b.input_ids.numel() <= budget or len(b.rows_B) == 1 for part in parts for b in part)


def test_a_budget_takes_no_more_micro_batches_than_it_must(data):
    (one,) = loader(data, micro_tokens=10_000).micro_batches(0)
    assert len(one.rows_B) == 8
    assert len(loader(data, micro_tokens=1).micro_batches(0)) == 8


def test_without_shuffling_the_tables_order_is_kept_but_for_lengths_within_a_window(data):
    one = loader(data, shuffle=False)
    window = np.concatenate([one.global_rows(step) for step in range(WINDOW_BATCHES)])
    order = np.resize(np.arange(48), len(window))
    lengths = data.lengths(np.arange(48))
    assert window.tolist() == order[np.argsort(lengths[order], kind="stable")].tolist()
