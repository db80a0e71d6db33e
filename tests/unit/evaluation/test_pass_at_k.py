from itertools import combinations

import numpy as np
import pytest

from wmtp.evaluation.pass_at_k import pass_at_k, task_scores


@pytest.mark.parametrize("n", range(1, 8))
def test_equals_enumeration_of_every_subset(n):
    for c in range(n + 1):
        correct = [i < c for i in range(n)]
        for k in range(1, n + 1):
            subsets = list(combinations(correct, k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-12)


def test_large_numbers_neither_overflow_nor_cancel():
    assert pass_at_k(10_000, 1, 1) == pytest.approx(1e-4, rel=1e-9)
    assert pass_at_k(10_000, 5_000, 1) == pytest.approx(0.5)
    assert pass_at_k(200, 0, 100) == 0.0
    assert pass_at_k(200, 200, 1) == 1.0


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 6), (5, 2, 0), (5, 6, 1), (5, -1, 1), (0, 0, 1)])
def test_impossible_numbers_are_refused(n, c, k):
    with pytest.raises(ValueError, match=r"num_samples|num_correct"):
        pass_at_k(n, c, k)


def test_task_scores_by_hand():
    assert np.allclose(task_scores([2, 4], [1, 1], 2), [1.0, 0.5])
