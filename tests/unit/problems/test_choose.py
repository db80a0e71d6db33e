"""Choices on metadata: caps, pairs, bins, ratio, order."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmtp.ledger import Ledger
from wmtp.problems.choose import (
    Candidate,
    DifficultyBins,
    choose_problems,
    choose_solutions,
    curriculum_order,
    keep_correct_ratio,
)


def candidates(*labels):
    """Labels of each problem's solutions, "rrw" for two right ones and a wrong one."""
    return [Candidate(i, j, label == "r", 0, 10) for i, group in enumerate(labels) for j, label in enumerate(group)]


def choose(*labels, max_per_problem=2, pairwise=False, seed="0"):
    """The chosen ones, and the account of what was dropped."""
    account = Ledger().account("split/x")
    chosen = choose_solutions(
        candidates(*labels), max_per_problem=max_per_problem, pairwise=pairwise, seed=seed, account=account
    )
    return chosen, account


def test_at_most_so_many_solutions_of_a_problem_and_all_where_there_are_fewer():
    kept, account = choose("rrrrw", "r", "ww")
    assert Counter(candidate.problem for candidate in kept) == {0: 2, 1: 1, 2: 2}
    assert account.solutions.dropped == {"over_max_per_problem": 3} and account.problems.dropped == {}
    assert kept == choose("rrrrw", "r", "ww")[0]
    picks = {tuple(choose("rrrrrrrr", seed=str(seed))[0]) for seed in range(20)}
    assert len(picks) > 5


def test_pairs_have_as_many_right_as_wrong_and_problems_without_both_are_counted():
    kept, account = choose("rrrww", "rr", "w", "rw", "rrrwww", max_per_problem=4, pairwise=True)
    numbers = Counter((candidate.problem, candidate.is_correct) for candidate in kept)
    assert numbers == {(problem, label): number for problem, number in ((0, 2), (3, 1), (4, 2)) for label in (True, False)}
    assert account.problems.dropped == {"without_partner": 2}
    assert account.solutions.dropped == {"without_partner": 1 + 2 + 1, "over_max_per_problem": 2}


@given(st.lists(st.text("rw", min_size=1, max_size=9), max_size=9), st.integers(2, 7), st.booleans())
def test_every_candidate_is_chosen_or_counted(labels, max_per_problem, pairwise):
    kept, account = choose(*labels, max_per_problem=max_per_problem, pairwise=pairwise)
    assert len(set(kept)) == len(kept) and set(kept) <= set(candidates(*labels))
    assert len(kept) + sum(account.solutions.dropped.values()) == sum(map(len, labels))
    assert len({candidate.problem for candidate in kept}) + sum(account.problems.dropped.values()) == len(labels)


def test_a_problems_choice_does_not_depend_on_other_problems():
    alone, _ = choose("rrrrr")
    among, _ = choose("rrrrr", "rrr")
    assert [candidate for candidate in among if candidate.problem == 0] == alone


@pytest.mark.parametrize(("ratio", "right", "wrong"), [(None, 30, 10), (0.5, 10, 10), (0.9, 30, 3), (0.0, 0, 10), (1.0, 30, 0)])
def test_the_class_in_excess_is_thinned(ratio, right, wrong):
    labels = [True, True, True, False] * 10
    kept = keep_correct_ratio(labels, ratio, "0")
    assert Counter(labels[i] for i in kept) == Counter({True: right, False: wrong}) and kept == sorted(set(kept))


def test_bins_follow_their_weights_as_far_as_the_data_reaches():
    difficulties = [800] * 50 + [1500] * 100 + [2500] * 10
    bins = DifficultyBins([1200, 2000], [1, 2, 1])
    most = choose_problems(difficulties, bins, None, "0")
    assert Counter(difficulties[i] for i in most) == {800: 10, 1500: 20, 2500: 10}
    fewer = choose_problems(difficulties, bins, 20, "0")
    assert Counter(difficulties[i] for i in fewer) == {800: 5, 1500: 10, 2500: 5} and set(fewer) < set(most)
    assert len(choose_problems(difficulties, DifficultyBins(), None, "0")) == 160
    assert len(choose_problems(difficulties, DifficultyBins(), 7, "0")) == 7


def test_an_edge_belongs_to_the_bin_above_it_and_without_bins_all_weigh_the_same():
    bins = DifficultyBins([1200, 2000], [0.0, 2.0, 1.0])
    assert [bins.weight(difficulty) for difficulty in (0, 1199, 1200, 1999, 2000)] == [0, 0, 2, 2, 1]
    assert DifficultyBins().weight(5) == 1.0
    assert choose_problems([800, 1300, 2100], bins, None, "0") == []  # shares of 2 to 1 cannot be had of 1 and 1
    assert len(choose_problems([800, 1300, 1300, 2100], bins, None, "0")) == 3


def test_curriculum_goes_from_easy_to_hard_and_short_to_long():
    assert curriculum_order([2, 1, 1, 2], [5, 9, 3, 5]) == [2, 1, 0, 3]


def test_unknown_difficulty_is_a_bin_of_its_own_and_not_easy():
    difficulties = [800] * 30 + [None] * 30 + [2500] * 30
    bins = DifficultyBins([1200], [1, 1])
    assert (bins.weight(None), DifficultyBins().weight(None)) == (0, 1)
    assert Counter(difficulties[i] for i in choose_problems(difficulties, bins, None, "0")) == {800: 30, 2500: 30}
    bins = DifficultyBins([1200], [1, 1], unknown=0.5)
    assert Counter(difficulties[i] for i in choose_problems(difficulties, bins, None, "0")) == {800: 30, 2500: 30, None: 15}
    assert len(choose_problems(difficulties, DifficultyBins(), None, "0")) == 90


def test_unknown_difficulty_comes_last_in_a_curriculum():
    assert curriculum_order([None, 2500, None, 0], [1, 9, 0, 5]) == [3, 1, 2, 0]
