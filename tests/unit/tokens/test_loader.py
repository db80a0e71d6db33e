"""How the training loader deals a step's global batch out to micro-batches and ranks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tables import make_tables
from wmtp.tokens.data import TokenData
from wmtp.tokens.loader import TrainLoader
from wmtp.tokens.order import BatchOrder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tables(tmp_path_factory.mktemp("tables"))[0]


@pytest.fixture(scope="module")
def data(folder):
    return TokenData.open(folder, "train")


def loader(data, **changes):
    arguments = {"batch_size": 8, "num_micro": 1, "seed": 3} | changes
    return TrainLoader(data, **arguments)


def parts_of(data, step, world_size, **changes):
    """Every rank's micro-batches."""
    return [loader(data, rank=rank, world_size=world_size, **changes).micro_batches(step) for rank in range(world_size)]


def rows_by_slot(parts):
    seen = [pair for part in parts for b in part for pair in zip(b.slots_B.tolist(), b.rows_B.tolist(), strict=True)]
    assert sorted(slot for slot, _ in seen) == list(range(len(seen)))
    return [row for _, row in sorted(seen)]


@settings(max_examples=60, deadline=None)
@given(
    step=st.integers(0, 100),
    seed=st.integers(0, 2**32 - 1),
    world_size=st.sampled_from([1, 2, 3, 4]),
    num_micro=st.sampled_from([1, 2, 4]),
    rows_each=st.integers(1, 3),
    shuffle=st.booleans(),
)
def test_the_global_batch_does_not_depend_on_ranks_or_micro_batches(
    data, step, seed, world_size, num_micro, rows_each, shuffle
):
    options = {"batch_size": world_size * num_micro * rows_each, "seed": seed, "shuffle": shuffle}
    parts = parts_of(data, step, world_size, num_micro=num_micro, **options)
    assert [len(part) for part in parts] == [num_micro] * world_size
    assert rows_by_slot(parts) == loader(data, **options).global_rows(step).tolist()


def test_only_selected_rows_come_in_the_order_of_their_lengths_and_seed(folder):
    wrong = TokenData.open(folder, "train", solutions="wrong")
    one = loader(wrong, batch_size=5)
    order = BatchOrder(wrong.lengths(wrong.selected), 5, seed=3)
    for step in range(20):
        rows = one.global_rows(step)
        assert not wrong.is_correct[rows].any()
        assert rows.tolist() == [wrong.selected[place] for place in order.rows(step)]
        assert one.num_tokens(step) == sum(int(batch.lengths_B.sum()) for batch in one.micro_batches(step))


@pytest.mark.parametrize("budget", [1, 20, 40, 1000])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_a_token_budget_holds_on_every_rank_and_loses_nothing(data, budget, world_size):
    for step in range(4):
        parts = parts_of(data, step, world_size, micro_tokens=budget)
        assert len({len(part) for part in parts}) == 1
        assert rows_by_slot(parts) == loader(data).global_rows(step).tolist()
        assert all(b.input_ids.numel() <= budget or len(b.rows_B) == 1 for part in parts for b in part)


def test_a_budget_takes_no_more_micro_batches_than_it_must(data):
    (one,) = loader(data, micro_tokens=10_000).micro_batches(0)
    assert len(one.rows_B) == 8
    assert len(loader(data, micro_tokens=1).micro_batches(0)) == 8


def test_a_batch_that_cannot_be_dealt_out_or_filled_is_refused(data):
    with pytest.raises(ValueError, match="global_batch_size=9 cannot be divided by 1 micro-batches x 2 ranks"):
        loader(data, batch_size=9, world_size=2)
    with pytest.raises(ValueError, match="global_batch_size=49 is more than the 48 examples"):
        loader(data, batch_size=49)
