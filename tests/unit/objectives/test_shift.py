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


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_stride_is_the_distance_between_two_heads_targets(stride):
    labels = torch.arange(20).view(2, 10)
    weights = labels.double() + 0.5
    found = shift_labels(labels, 3, stride=stride)
    expanded = expand_weights(weights, found, "target", stride=stride)
    for b in range(2):
        for t in range(10):
            for h in range(3):
                target = t + 1 + h * stride
                assert found[b, t, h] == (labels[b, target] if target < 10 else IGNORE_INDEX)
                assert expanded[b, t, h] == (weights[b, target] if target < 10 else 0)
