"""A selection of whole examples."""

import math

import pytest
import torch

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.errors import ConfigError
from wmtp.weightings.base import target_weights


@pytest.mark.parametrize("keep_frac", [0.6, 0.1, 1.0])
def test_the_examples_with_the_largest_mean_excess_are_kept_whole(keep_frac):
    inputs = make_inputs(batch=7)
    reference = inputs.columns["reference_nll"]
    excess = {b: [] for b in range(7)}
    for b, t, h in inputs.valid_BTH.nonzero().tolist():
        excess[b].append(inputs.nll_BTH[b, t, h].item() - reference[b, t + 1 + h].item())
    best = sorted(excess, key=lambda b: sum(excess[b]) / len(excess[b]), reverse=True)
    kept = set(best[: math.ceil(keep_frac * 7 - 1e-9)])
    weights = target_weights(make("rho_loss", keep_frac=keep_frac), inputs)
    for b, t, h in inputs.valid_BTH.nonzero().tolist():
        assert weights[b, t, h].item() == float(b in kept)


def test_ties_go_to_the_earlier_place_in_the_batch_wherever_it_is_computed():
    inputs = make_inputs(columns=("reference_nll",), nll_BTH=torch.ones(4, 9, 3), slots_B=torch.tensor([7, 2, 9, 4]))
    inputs.columns["reference_nll"].zero_()
    weights = target_weights(make("rho_loss", keep_frac=0.5), inputs)
    assert (weights.sum(dim=(1, 2)) > 0).tolist() == [False, True, False, True]


def test_an_example_without_a_target_is_not_counted():
    inputs = make_inputs(batch=5)
    labels = inputs.labels_BTH.clone()
    labels[3:] = -100
    weights = target_weights(make("rho_loss", keep_frac=0.6), make_inputs(batch=5, labels_BTH=labels))
    assert (weights.sum(dim=(1, 2)) > 0).sum() == 2  # of three, not of five


def test_a_share_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="keep_frac"):
        make("rho_loss", keep_frac=0.0)
