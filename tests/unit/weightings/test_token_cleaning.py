"""A selection over the whole dataset, against a sort of all its tokens."""

import dataclasses
import math

import pytest
import torch

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.errors import ConfigError
from wmtp.weightings.base import target_weights

COLUMNS = ("base_nll", "reference_nll")


def dataset(**changes):
    return make_inputs(batch=8, columns=COLUMNS, **changes)


def response_tokens(inputs):
    return [(b, t) for b in range(len(inputs.rows_B)) for t in range(int(inputs.prompt_lens_B[b]), int(inputs.lengths_B[b]))]


@pytest.mark.parametrize("alignment", ["target", "source"])
@pytest.mark.parametrize("keep_frac", [0.6, 0.25, 1.0])
def test_the_tokens_of_the_dataset_that_the_tuning_improved_most_are_kept(keep_frac, alignment):
    whole = dataset(alignment=alignment)
    weighting = make("token_cleaning", keep_frac=keep_frac)
    measured = weighting.measure([dataset(rows=slice(0, 3)), dataset(rows=slice(3, 8))])
    base, reference = whole.columns["base_nll"], whole.columns["reference_nll"]
    tokens = response_tokens(whole)
    best = sorted(tokens, key=lambda place: (base[place] - reference[place]).item(), reverse=True)
    kept = set(best[: math.ceil(keep_frac * len(tokens) - 1e-9)])
    weights = target_weights(weighting, dataset(alignment=alignment, statistics=measured))
    for b, t, h in whole.valid_BTH.nonzero().tolist():
        place = (b, t + 1 + h if alignment == "target" else t)
        assert weights[b, t, h].item() == float(place in kept)


def test_ties_are_kept_by_their_place_in_the_dataset_and_the_number_is_exact():
    whole = dataclasses.replace(dataset(), columns={name: torch.zeros(8, 9) for name in COLUMNS})
    weighting = make("token_cleaning", keep_frac=0.5)
    weights = weighting.weights(dataclasses.replace(whole, statistics=weighting.measure([whole])))
    tokens = response_tokens(whole)
    assert [tuple(place) for place in weights.nonzero().tolist()] == tokens[: math.ceil(0.5 * len(tokens))]


def test_a_row_keeps_the_same_tokens_in_every_batch():
    weighting = make("token_cleaning")
    measured = weighting.measure([dataset()])
    whole, alone = dataset(statistics=measured), dataset(statistics=measured, rows=[5])
    assert torch.equal(weighting.weights(whole)[5:6], weighting.weights(alone))


def test_a_share_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="keep_frac"):
        make("token_cleaning", keep_frac=1.5)
