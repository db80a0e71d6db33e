"""Choices on columns: caps, pairs, bins, ratio, order; nothing depends on places."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmtp.ledger import Ledger
from wmtp.problems.choose import (
    UNKNOWN,
    Candidates,
    DifficultyBins,
    choose_problems,
    choose_solutions,
    curriculum_order,
    keep_correct_ratio,
    keep_pairs,
    largest_remainder,
)
from wmtp.problems.draw import key_of, keys_of


def candidates(*labels):
    """Labels of each problem's solutions, "rrw" for two right ones and a wrong one."""
    flat = [(i, j, label == "r") for i, group in enumerate(labels) for j, label in enumerate(group)]
    problems, is_correct = np.array([i for i, _, _ in flat], int), np.array([right for _, _, right in flat], bool)
    return Candidates(problems, is_correct, np.array([key_of(str(i), str(j)) for i, j, _ in flat], np.uint64))


def choose(*labels, max_per_problem=2, pairwise=False, seed="0"):
    """(problem, place in it, is_correct) of the chosen ones, and the account of what was dropped."""
    account, among = Ledger().account("split/x"), candidates(*labels)
    chosen = choose_solutions(among, max_per_problem=max_per_problem, pairwise=pairwise, seed=seed, account=account)
    starts = np.cumsum([0, *map(len, labels)])
    rows = [(int(among.problems[i]), int(i - starts[among.problems[i]]), bool(among.is_correct[i])) for i in chosen]
    return rows, account


def problems_by(difficulties, bins, number, seed="0"):
    """How many of each difficulty, and the numbers."""
    levels = np.array([UNKNOWN if level is None else level for level in difficulties])
    numbers = choose_problems(levels, keys_of([str(i) for i in range(len(levels))]), bins, number, seed)
    assert numbers.tolist() == sorted(set(numbers.tolist()))
    return Counter(difficulties[i] for i in numbers), set(numbers.tolist())


def test_at_most_so_many_solutions_of_a_problem_and_all_where_there_are_fewer():
    kept, account = choose("rrrrw", "r", "ww")
    assert Counter(problem for problem, _, _ in kept) == {0: 2, 1: 1, 2: 2}
    assert account.solutions.dropped == {"over_max_per_problem": 3} and account.problems.dropped == {}
    assert kept == choose("rrrrw", "r", "ww")[0]
    picks = {tuple(choose("rrrrrrrr", seed=str(seed))[0]) for seed in range(20)}
    assert len(picks) > 5


def test_pairs_have_as_many_right_as_wrong_and_problems_without_both_are_counted():
    kept, account = choose("rrrww", "rr", "w", "rw", "rrrwww", max_per_problem=4, pairwise=True)
    numbers = Counter((problem, is_correct) for problem, _, is_correct in kept)
    assert numbers == {(problem, label): number for problem, number in ((0, 2), (3, 1), (4, 2)) for label in (True, False)}
    assert account.problems.dropped == {"without_partner": 2}
    assert account.solutions.dropped == {"without_partner": 1 + 2 + 1, "over_max_per_problem": 2}


@given(st.lists(st.text("rw", min_size=1, max_size=9), max_size=9), st.integers(2, 7), st.booleans())
def test_every_candidate_is_chosen_or_counted(labels, max_per_problem, pairwise):
    kept, account = choose(*labels, max_per_problem=max_per_problem, pairwise=pairwise)
    assert len(set(kept)) == len(kept)
    assert len(kept) + sum(account.solutions.dropped.values()) == sum(map(len, labels))
    assert len({problem for problem, _, _ in kept}) + sum(account.problems.dropped.values()) == len(labels)


def test_a_problems_choice_does_not_depend_on_other_problems():
    alone, _ = choose("rrrrr")
    among, _ = choose("rrrrr", "rrr")
    assert [row for row in among if row[0] == 0] == alone


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=30), st.integers(2, 5), st.booleans(), st.randoms())
def test_the_order_of_the_rows_and_rows_of_other_problems_change_nothing(rows, max_per_problem, pairwise, shuffle):
    def chosen(order):
        among = Candidates(
            np.array([rows[i][0] for i in order], int),
            np.array([rows[i][1] for i in order], bool),
            np.array([key_of(str(i)) for i in order], np.uint64),
        )
        account = Ledger().account("split/x")
        kept = choose_solutions(among, max_per_problem=max_per_problem, pairwise=pairwise, seed="0", account=account)
        return [order[i] for i in kept]

    plain = list(range(len(rows)))
    shuffled = shuffle.sample(plain, len(plain))
    assert chosen(shuffled) == chosen(plain)
    without = [i for i in shuffled if rows[i][0] != 0]
    assert chosen(without) == [i for i in chosen(plain) if rows[i][0] != 0]


@pytest.mark.parametrize(("ratio", "right", "wrong"), [(None, 30, 10), (0.5, 10, 10), (0.9, 30, 3), (0.0, 0, 10), (1.0, 30, 0)])
def test_the_class_in_excess_is_thinned(ratio, right, wrong):
    labels = np.array([True, True, True, False] * 10)
    kept = keep_correct_ratio(labels, keys_of([str(i) for i in range(40)]), ratio, "0")
    assert Counter(labels[kept].tolist()) == Counter({True: right, False: wrong})
    assert kept.tolist() == sorted(set(kept.tolist()))


def test_pairs_are_the_first_right_and_wrong_ones_of_each_problem():
    problems = np.array([0, 0, 0, 1, 2, 2, 0, 2])
    is_correct = np.array([1, 1, 0, 1, 0, 0, 1, 1], dtype=bool)
    assert keep_pairs(problems, is_correct).tolist() == [0, 2, 4, 7]
    assert keep_pairs(np.zeros(0, int), np.zeros(0, bool)).tolist() == []


def test_bins_follow_their_weights_as_far_as_the_data_reaches():
    difficulties = [800] * 50 + [1500] * 100 + [2500] * 10
    bins = DifficultyBins([1200, 2000], [1, 2, 1])
    counts, most = problems_by(difficulties, bins, None)
    assert counts == {800: 10, 1500: 20, 2500: 10}
    counts, fewer = problems_by(difficulties, bins, 20)
    assert counts == {800: 5, 1500: 10, 2500: 5} and fewer < most
    assert len(problems_by(difficulties, DifficultyBins(), None)[1]) == 160
    assert len(problems_by(difficulties, DifficultyBins(), 7)[1]) == 7


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any), st.integers(0, 50))
def test_largest_remainders_add_up_and_are_off_by_less_than_one(weights, number):
    shares = np.array(weights) / sum(weights)
    quotas = largest_remainder(shares, number)
    assert quotas.sum() == number and np.all(np.abs(quotas - shares * number) < 1) and np.all(quotas[shares == 0] == 0)


def test_bins_are_not_rounded_down():
    """By hand: 10 of three equal bins are 4, 3 and 3; 11 of shares 1, 2 and 4 are 2 (1.57), 3 (3.14) and 6 (6.29)."""
    assert largest_remainder(np.ones(3) / 3, 10).tolist() == [4, 3, 3]
    assert largest_remainder(np.array([1, 2, 4]) / 7, 11).tolist() == [2, 3, 6]
    counts, _ = problems_by([1] * 9 + [5] * 9 + [9] * 9, DifficultyBins([3, 7], [1, 1, 1]), 10)
    assert sum(counts.values()) == 10 and sorted(counts.values()) == [3, 3, 4]


def test_an_edge_belongs_to_the_bin_above_it_and_without_bins_all_weigh_the_same():
    bins = DifficultyBins([1200, 2000], [0.0, 2.0, 1.0])
    assert [bins.weight(difficulty) for difficulty in (0, 1199, 1200, 1999, 2000)] == [0, 0, 2, 2, 1]
    assert DifficultyBins().weight(5) == 1.0
    assert problems_by([800, 1300, 2100], bins, None)[0] == {1300: 1}  # two thirds of one problem, rounded
    assert problems_by([800, 1300, 1300, 2100], bins, None)[0] == {1300: 2, 2100: 1}


def test_curriculum_goes_from_easy_to_hard_and_short_to_long():
    assert curriculum_order(np.array([2, 1, 1, 2]), np.array([5, 9, 3, 5])).tolist() == [2, 1, 0, 3]


def test_unknown_difficulty_is_a_bin_of_its_own_and_not_easy():
    difficulties = [800] * 30 + [None] * 30 + [2500] * 30
    bins = DifficultyBins([1200], [1, 1])
    assert (bins.weight(None), DifficultyBins().weight(None)) == (0, 1)
    assert problems_by(difficulties, bins, None)[0] == {800: 30, 2500: 30}
    bins = DifficultyBins([1200], [1, 1], unknown=0.5)
    assert problems_by(difficulties, bins, None)[0] == {800: 30, 2500: 30, None: 15}
    assert len(problems_by(difficulties, DifficultyBins(), None)[1]) == 90


def test_unknown_difficulty_comes_last_in_a_curriculum():
    assert curriculum_order(np.array([UNKNOWN, 2500, UNKNOWN, 0]), np.array([1, 9, 0, 5])).tolist() == [3, 1, 2, 0]
