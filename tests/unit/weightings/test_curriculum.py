"""Heads switched on and off."""

import pytest
import torch

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.errors import ConfigError
from wmtp.weightings.base import target_weights


def heads_on(weighting, **changes):
    inputs = make_inputs(heads=4, **changes)
    return (target_weights(weighting, inputs).sum(dim=(0, 1)) > 0).tolist()


def test_every_number_of_heads_has_as_many_steps_forward_and_in_reverse():
    """12 steps, 4 heads: by hand."""
    for direction, order in (("forward", [1, 2, 3, 4]), ("reverse", [4, 3, 2, 1])):
        weighting = make("curriculum", direction=direction)
        for step in range(12):
            on = order[step // 3]
            assert heads_on(weighting, step=step, num_steps=12) == [True] * on + [False] * (4 - on)


def test_a_short_ramp_ends_with_the_last_number_of_heads():
    numbers = [make("curriculum", ramp_frac=0.5).num_heads(3, step, 12) for step in range(12)]
    assert numbers == [1, 1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3]
    numbers = [make("curriculum", ramp_frac=0.5, direction="reverse").num_heads(3, step, 12) for step in range(12)]
    assert numbers == [3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]


def test_steps_that_the_heads_do_not_divide_are_all_there():
    """The paper's formula, 10 steps and 3 heads, with whole numbers."""
    assert [make("curriculum").num_heads(3, step, 10) for step in range(10)] == [
        min(3, step * 3 // 10 + 1) for step in range(10)
    ]


@pytest.mark.parametrize("alignment", ["target", "source"])
@pytest.mark.parametrize("name", ["rho1", "verifiable", "token_cleaning", "uniform"])
def test_the_heads_that_are_on_weigh_what_the_inner_weighting_says(name, alignment):
    inner = make(name)
    weighting = make("curriculum", inner=inner)
    columns = [column.name for column in inner.needs.columns]
    assert weighting.needs == inner.needs and weighting.has_alignment == inner.has_alignment
    whole = make_inputs(columns=columns)
    inputs = make_inputs(columns=columns, alignment=alignment, step=5, statistics=weighting.measure([whole]))
    weights, of_inner = target_weights(weighting, inputs), target_weights(inner, inputs)
    of_inner = inputs.valid_BTH.float() if of_inner is None else of_inner
    assert torch.equal(weights[..., :2], of_inner[..., :2]) and not weights[..., 2].any() and of_inner[..., 2].any()


@pytest.mark.parametrize("bad", [{"direction": "sideways"}, {"ramp_frac": 0.0}, {"ramp_frac": 1.5}])
def test_bad_keys_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        make("curriculum", **bad)
