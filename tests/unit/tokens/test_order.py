"""Global batches: distinct rows, every row once an epoch, nothing but seed and step decides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmtp.tokens.order import WINDOW_BATCHES, BatchOrder


def some_lengths(num_rows, seed=0):
    """Like the demo's training solutions: 15 to 119 tokens, 44 in the mean, 18 about it."""
    return (15 + 104 * np.random.default_rng(seed).beta(1.6, 4, num_rows)).astype(np.int64)


def real_share(batches, lengths):
    return sum(lengths[batch].sum() for batch in batches) / sum(lengths[batch].max() * len(batch) for batch in batches)


SIZES = st.integers(1, 90).flatmap(lambda num_rows: st.tuples(st.just(num_rows), st.integers(1, num_rows)))


@settings(max_examples=300, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 2**32 - 1), shuffle=st.booleans(), epochs=st.integers(1, 7))
def test_no_batch_holds_a_row_twice_and_every_epoch_holds_every_row_once(sizes, seed, shuffle, epochs):
    num_rows, batch_size = sizes
    order = BatchOrder(some_lengths(num_rows, seed % 5), batch_size, seed=seed, shuffle=shuffle)
    steps = -(-epochs * num_rows // batch_size)
    counts = np.zeros(num_rows, dtype=int)
    stream = []
    for step in range(steps):
        rows = order.rows(step)
        assert len(set(rows.tolist())) == batch_size
        counts[rows] += 1
        assert counts.max() - counts.min() <= 1
        stream += rows.tolist()
    for epoch in range(epochs):
        assert sorted(stream[epoch * num_rows : (epoch + 1) * num_rows]) == list(range(num_rows))


@settings(max_examples=100, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 2**32 - 1), shuffle=st.booleans(), steps=st.lists(st.integers(0, 60), min_size=1))
def test_a_step_alone_gives_what_all_steps_in_turn_give(sizes, seed, shuffle, steps):
    num_rows, batch_size = sizes
    lengths = some_lengths(num_rows)
    in_turn = BatchOrder(lengths, batch_size, seed=seed, shuffle=shuffle)
    expected = [in_turn.rows(step).tolist() for step in range(max(steps) + 1)]
    jumping = BatchOrder(lengths, batch_size, seed=seed, shuffle=shuffle)
    assert [jumping.rows(step).tolist() for step in steps] == [expected[step] for step in steps]
    assert BatchOrder(lengths, batch_size, seed=seed, shuffle=shuffle).rows(steps[-1]).tolist() == expected[steps[-1]]


def test_windows_of_many_rows_are_sorted_by_length_and_their_batches_shuffled():
    """By hand: the seed's permutation, 32 batches' rows at a time, sorted by length, dealt out in a random order."""
    batch_size, seed = 4, 9
    lengths = some_lengths(batch_size * WINDOW_BATCHES * 4 + 3)
    order = BatchOrder(lengths, batch_size, seed=seed)
    permutation = np.random.default_rng([seed, 0]).permutation(len(lengths)).tolist()
    for window in range(3):
        first = window * WINDOW_BATCHES
        rows = permutation[first * batch_size : (first + WINDOW_BATCHES) * batch_size]
        rows = sorted(rows, key=lambda row: lengths[row])
        places = np.random.default_rng([seed, window, 1]).permutation(WINDOW_BATCHES).tolist()
        for step, place in enumerate(places, start=first):
            assert order.rows(step).tolist() == rows[place * batch_size : (place + 1) * batch_size]


def test_without_shuffling_rows_move_within_a_batch_alone():
    batch_size, num_batches = 4, 40
    lengths = some_lengths(batch_size * num_batches)
    order = BatchOrder(lengths, batch_size, seed=0, shuffle=False)
    for step in range(3 * num_batches):
        table = list(range(step % num_batches * batch_size, (step % num_batches + 1) * batch_size))
        assert order.rows(step).tolist() == sorted(table, key=lambda row: lengths[row])


def test_a_curriculum_is_followed_batch_by_batch():
    """At a batch of 128, rows of rising difficulty and of any length: rank correlation of step and difficulty."""
    num_rows, batch_size = 9000, 128
    difficulty = np.sort(np.random.default_rng(0).integers(0, 30, num_rows))
    order = BatchOrder(some_lengths(num_rows), batch_size, seed=0, shuffle=False)
    means = [difficulty[order.rows(step)].mean() for step in range(num_rows // batch_size)]
    assert np.corrcoef(np.argsort(np.argsort(means)), np.arange(len(means)))[0, 1] > 0.999


def test_a_batch_of_two_epochs_keeps_the_tables_order_when_it_is_not_shuffled():
    """400 rows in batches of 9: the last batch of an epoch, what is left of it, and the first rows of the next."""
    order = BatchOrder(some_lengths(400), 9, seed=0, shuffle=False)
    shared = order.rows(44)
    assert set(shared[:4].tolist()) <= set(range(43 * 9, 400)) and set(shared[4:].tolist()) <= set(range(5 + 9))


@pytest.mark.parametrize("num_rows", [12_000, 3000])
def test_over_95_percent_of_what_is_computed_are_real_tokens(num_rows):
    lengths = some_lengths(num_rows)
    order = BatchOrder(lengths, 32, seed=1)
    assert real_share([order.rows(step) for step in range(3 * num_rows // 32)], lengths) > 0.95


def test_rows_of_two_epochs_that_share_a_batch_are_of_similar_lengths():
    num_rows, batch_size = 1500, 32
    lengths = some_lengths(num_rows)
    order = BatchOrder(lengths, batch_size, seed=1)
    shared = [order.rows(epoch * num_rows // batch_size) for epoch in range(1, 20) if epoch * num_rows % batch_size]
    unsorted = np.random.default_rng(0).permutation(num_rows)[: 46 * batch_size].reshape(46, batch_size)
    assert real_share(shared, lengths) > 0.85 > real_share(unsorted, lengths) + 0.2


def test_few_rows_are_batched_anew_every_epoch():
    """Were all of them sorted by length, every epoch would have the same batches."""
    order = BatchOrder(some_lengths(48), 8, seed=0)
    batches = [frozenset(order.rows(step).tolist()) for step in range(60)]
    assert len(set(batches)) > 50


def test_seeds_and_epochs_differ():
    lengths = some_lengths(48)
    first, other = BatchOrder(lengths, 8, seed=0), BatchOrder(lengths, 8, seed=1)
    steps = [first.rows(step).tolist() for step in range(12)]
    assert steps[:6] != steps[6:] and steps != [other.rows(step).tolist() for step in range(12)]


def test_a_batch_of_more_rows_than_there_are_is_refused():
    BatchOrder(some_lengths(10), 10, seed=0)
    with pytest.raises(ValueError, match=r"global_batch_size=11 is more than the 10 examples there are"):
        BatchOrder(some_lengths(10), 11, seed=0)
