"""What a weighting is given, by hand."""

from dataclasses import replace

import pytest
import torch

from tests.unit.weightings.inputs import make, make_inputs
from wmtp.types import IGNORE_INDEX
from wmtp.weightings.base import REFERENCE_NLL, VALUE, Column, Needs, target_weights

X = IGNORE_INDEX


@pytest.fixture
def inputs():
    """Two rows, two heads: a prompt of one token and lengths of 4 and 3."""
    labels = torch.tensor([[[5, 6], [6, 7], [7, X], [X, X]], [[8, 9], [9, X], [X, X], [X, X]]])
    return replace(
        make_inputs(batch=2, length=4, heads=2),
        labels_BTH=labels,
        rows_B=torch.tensor([7, 3]),
        slots_B=torch.tensor([0, 5]),
        prompt_lens_B=torch.tensor([1, 1]),
        lengths_B=torch.tensor([4, 3]),
        columns={"value": torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.0]])},
    )


def test_needs_add_up_and_name_a_column_once():
    one, other = Needs((VALUE,), nll=True), Needs((REFERENCE_NLL, VALUE), entropy=True)
    assert one | other == Needs((VALUE, REFERENCE_NLL), nll=True, entropy=True)
    assert one | Needs() == Needs() | one == one
    assert [needs.policy for needs in (Needs((VALUE,)), Needs(nll=True), Needs(entropy=True))] == [False, True, True]


@pytest.mark.parametrize(
    ("folder", "path", "group", "is_of_run"),
    [
        ("artifacts/scores/value/s{upstream}", "artifacts/scores/value/s7", "value", False),
        ("artifacts/scores/start/s{seed}", "artifacts/scores/start/s3", "start", True),
    ],
)
def test_a_columns_folder_says_who_makes_it_and_for_whom(folder, path, group, is_of_run):
    column = Column("x", folder)
    assert (column.path(3, 7), column.group, column.is_of_run) == (path, group, is_of_run)
    assert column.seed(3, 7) == int(path[-1])


def test_places_are_of_the_batch_or_of_the_dataset(inputs):
    row = 2**32
    assert inputs.positions_BT.tolist() == [[0, 1, 2, 3], [5 * row, 5 * row + 1, 5 * row + 2, 5 * row + 3]]
    assert inputs.dataset_positions_BT[:, 1].tolist() == [7 * row + 1, 3 * row + 1]


def test_what_is_valid_and_what_is_response(inputs):
    assert inputs.valid_BTH.sum(dim=(0, 1)).tolist() == [5, 3]
    assert inputs.response_BT.tolist() == [[False, True, True, True], [False, True, True, False]]


def test_a_tokens_quantity_is_seen_by_every_head_that_predicts_it(inputs):
    seen = inputs.of_targets(inputs.column(VALUE))
    expected = [[[0.2, 0.3], [0.3, 0.4], [0.4, 0], [0, 0]], [[0.6, 0.7], [0.7, 0], [0, 0], [0, 0]]]
    torch.testing.assert_close(seen, torch.tensor(expected))
    at_source = replace(inputs, alignment="source").expand(inputs.column(VALUE))
    expected = [[[0.1, 0.1], [0.2, 0.2], [0.3, 0], [0, 0]], [[0.5, 0.5], [0.6, 0], [0, 0], [0, 0]]]
    torch.testing.assert_close(at_source, torch.tensor(expected))
    assert torch.equal(inputs.expand(inputs.column(VALUE)), seen)


def test_what_was_not_asked_for_cannot_be_read(inputs):
    blind = replace(inputs, nll_BTH=None, entropy_BTH=None)
    for name in ("nll", "entropy"):
        with pytest.raises(AssertionError, match="does not say that it needs the policy's"):
            getattr(blind, name)
    with pytest.raises(AssertionError, match="does not say that it needs the column reference_nll"):
        inputs.column(REFERENCE_NLL)


def test_a_weighting_is_named_by_its_module_and_ones_stay_none(inputs):
    assert make("rho1_soft").name == "rho1_soft"
    assert target_weights(make("uniform"), inputs) is None
