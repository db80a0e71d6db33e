"""Masking what is improbable."""

import math

import pytest
import torch

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.errors import ConfigError
from wmtp.weightings.base import target_weights


def test_targets_above_the_threshold_are_kept():
    inputs = make_inputs()
    weights = target_weights(make("profit", threshold=0.6), inputs)
    for b, t, h in inputs.valid_BTH.nonzero().tolist():
        assert weights[b, t, h].item() == float(math.exp(-inputs.nll_BTH[b, t, h].item()) > 0.6)


def test_the_warm_up_keeps_everything():
    """Steps 0 to 3 of 10 are in the first 0.4; step 4 is not."""
    weighting = make("profit", threshold=0.6, warmup_frac=0.4)
    for step in range(6):
        inputs = make_inputs(step=step)
        assert torch.equal(target_weights(weighting, inputs) > 0, inputs.valid_BTH) == (step < 4)


def test_a_head_that_has_nothing_probable_keeps_everything():
    nll = make_inputs().nll_BTH.clone()
    nll[..., 1] += 9
    inputs = make_inputs(nll_BTH=nll)
    weights = target_weights(make("profit", threshold=0.6), inputs)
    kept = weights.sum(dim=(0, 1)).tolist()
    number = inputs.valid_BTH.sum(dim=(0, 1)).tolist()
    assert kept[1] == number[1] and 0 < kept[0] < number[0] and 0 < kept[2] < number[2]


def test_another_ranks_probable_target_counts():
    """What passes on the other rank is what this rank's head is measured by."""
    improbable = make_inputs(nll_BTH=make_inputs().nll_BTH + 9, gather=lambda x: torch.cat([x, torch.tensor([1, 0, 0])]))
    kept = target_weights(make("profit"), improbable).sum(dim=(0, 1)).tolist()
    assert kept[0] == 0 and kept[1] > 0 and kept[2] > 0


@pytest.mark.parametrize("bad", [{"threshold": 1.0}, {"threshold": -0.1}, {"warmup_frac": 1.0}])
def test_bad_keys_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        make("profit", **bad)
