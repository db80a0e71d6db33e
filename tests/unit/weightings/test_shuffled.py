"""The control: the same weights at other places of the same example."""

import torch

from tests.unit.weightings.inputs import make, make_inputs


def test_every_examples_weights_are_those_of_verifiable_in_another_order():
    inputs = make_inputs(length=20)
    right, shuffled = make("verifiable").weights(inputs), make("shuffled").weights(inputs)
    for b in range(4):
        span = slice(int(inputs.prompt_lens_B[b]), int(inputs.lengths_B[b]))
        assert torch.equal(shuffled[b, span].sort().values, right[b, span].sort().values)
    assert not torch.equal(shuffled, right)
    assert torch.equal(shuffled, make("shuffled").weights(make_inputs(length=20, step=9)))
