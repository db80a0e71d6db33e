"""Which token each head predicts, and which weight it gets, by hand."""

import pytest
import torch

from wmtp.objectives.shift import expand_weights, shift_labels
from wmtp.types import IGNORE_INDEX


def test_shift_labels_by_hand_and_across_documents():
    labels = torch.tensor([[10, 11, 12, 13]])
    x = IGNORE_INDEX
    assert shift_labels(labels, 2).tolist() == [[[11, 12], [12, 13], [13, x], [x, x]]]
    packed = shift_labels(labels, 2, torch.tensor([[0, 0, 1, 1]]))
    assert packed.tolist() == [[[11, x], [x, x], [13, x], [x, x]]]
    assert shift_labels(torch.tensor([[1]]), 3).tolist() == [[[x, x, x]]]


def test_expand_weights_alignment_by_hand():
    labels = shift_labels(torch.tensor([[5, 6, 7]]), 2)
    weights = torch.tensor([[1.0, 2.0, 3.0]])
    assert expand_weights(weights, labels, "target").tolist() == [[[2, 3], [3, 0], [0, 0]]]
    assert expand_weights(weights, labels, "source").tolist() == [[[1, 1], [2, 0], [0, 0]]]
    with pytest.raises(ValueError, match="alignment"):
        expand_weights(weights, labels, "both")
